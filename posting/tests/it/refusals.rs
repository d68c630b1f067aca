//! Ledger cases, an operation each: what else than the usual it can be refused for. The words are explained in
//! [`crate::script`].

use crate::script::cases;

cases! {
a_hold_is_refused_like_a_payment: "
event h1 users@0 | debit users@0:wallet 0.00 CNY | hold 60
-> refused bad_amount
event h2 users@0 | debit users@0:wallet 1.00 EUR | hold 60
-> refused unknown_asset
event h3 users@0 | debit users@0:savings 1.00 CNY | hold 60
-> refused unknown_account
event h4 users@0 | debit bank@0:main 1 JPY | hold 60
-> booked
event h5 users@0 | debit bank@0:main max JPY | hold 60
-> refused overflow
event h4 users@0 | debit bank@0:main 2 JPY | hold 60, body other
-> refused conflict
event c1 users@0 | | close users@0:wallet
-> booked
event h6 users@0 | debit users@0:wallet 1.00 CNY | hold 60
-> refused account_closed
"

a_capture_is_refused_like_a_payment: "
event h1 users@0 | debit users@0:credit 10.00 CNY | hold 60
-> booked
event c1 users@0 | debit users@0:credit 0.00 CNY ; credit bank@0:main 0.00 CNY | capture h1
-> refused bad_amount
event c2 users@0 | debit users@0:credit 1.00 EUR ; credit bank@0:main 1.00 EUR | capture h1
-> refused unknown_asset
event c3 users@0 | debit users@0:credit 1.00 CNY ; credit users@0:savings 1.00 CNY | capture h1
-> refused unknown_account
event c4 users@0 | debit users@0:credit 1.00 CNY ; credit bank@0:main 1.00 CNY | capture h1
-> booked
event c4 users@0 | debit users@0:credit 2.00 CNY ; credit bank@0:main 2.00 CNY | capture h1, body other
-> refused conflict
event e1 users@0 | debit fees@0:card max JPY ; credit bank@0:main max JPY
-> booked
event h2 users@0 | debit merchants@0:payable 10 JPY | hold 60
-> booked
event c5 users@0 | debit merchants@0:payable 2 JPY ; credit bank@0:main 2 JPY | capture h2
-> refused overflow
event r1 users@0 | | release h2
-> booked
event r1 users@0 | | release h2, body other
-> refused conflict
"

changes_of_accounts_that_are_refused: "
event o1 users@0 | | open users@0:savings
-> refused unknown_account
event f1 users@0 | | freeze users@0:savings
-> refused unknown_account
event u1 users@0 | | unfreeze users@0:savings
-> refused unknown_account
event c1 users@0 | | close users@0:wallet
-> booked
event f2 users@0 | | freeze users@0:wallet
-> refused account_closed
event u2 users@0 | | unfreeze users@0:wallet
-> refused account_closed
event c1 users@0 | | close users@0b:wallet, body other
-> refused conflict
event o2 users@0 | | open users@0:wallet
-> booked
event o2 users@0 | | open users@0b:wallet, body other
-> refused conflict
event f3 users@0 | | freeze users@0:wallet
-> booked
event f3 users@0 | | freeze users@0b:wallet, body other
-> refused conflict
event u3 users@0 | | unfreeze users@0:wallet
-> booked
event u3 users@0 | | unfreeze users@0b:wallet, body other
-> refused conflict
"

a_capture_of_an_account_frozen_or_to_one_closed_since: "
event e1 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event h1 users@0 | debit users@0:wallet 5.00 CNY | hold 60
-> booked
event c1 users@0 | | close merchants@0:payable
-> booked
event c2 users@0 | debit users@0:wallet 1.00 CNY ; credit merchants@0:payable 1.00 CNY | capture h1
-> refused account_closed
event f1 users@0 | | freeze users@0:wallet debit
-> booked
event c3 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | capture h1
-> refused account_frozen retryable
"

a_refund_beyond_any_amount: "
tick 1
event e1 bank@0 | debit bank@0:main max JPY ; credit merchants@0:payable max JPY
-> booked
event r1 bank@0 | debit fees@0:card 5 JPY ; credit merchants@0:payable 5 JPY | reverse e1
-> pending
tick 2
later r1 refused overflow
"

a_refund_is_refused_like_a_payment: "
tick 1
event e1 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event r2 users@0 | debit users@0:wallet 1.00 EUR ; credit bank@0:main 1.00 EUR | reverse e1
-> refused unknown_asset
event r3 users@0 | debit users@0:savings 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse e1
-> refused unknown_account
event r1 users@0 | debit users@0b:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse e1
-> pending
tick 2
later r1 refused insufficient_funds retryable
event r1 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse e1, body other
-> refused conflict
event f1 users@0 | | freeze users@0:wallet
-> booked
event r4 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse e1
event r5 users@0 | | reverse e1
-> pending
tick 3
later r4 refused account_frozen retryable
later r5 refused account_frozen retryable
event r5 users@0 | | reverse e2, body other
-> refused conflict
event r6 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse r6
-> refused not_reversible
event r7 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse e9
-> pending
tick 10000003
later r7 refused unknown_event retryable
"

an_account_closed_since_gives_nothing_back: "
tick 1
event e1 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event c1 users@0 | | close users@0:wallet
-> booked
event r1 users@0 | | reverse e1
-> pending
tick 2
later r1 refused account_closed
"

what_would_be_given_back_is_not_decided_in_time: "
partitions 2
tick 1
pause 1
event e1 orders@0 | debit users@1:credit 1.00 CNY ; credit bank@0:main 1.00 CNY
-> pending
event r1 orders@0 | | reverse e1
-> pending
event r2 orders@0 | debit bank@0:main 1.00 CNY ; credit users@1:credit 1.00 CNY | reverse e1
-> pending
tick 10000001
later r1 refused timed_out retryable
later r2 refused timed_out retryable
"

a_refund_of_an_account_that_was_closed: "
tick 1000000
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> booked
event e2 users@0 | debit merchants@0:payable 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
event c1 merchants@0 | | close merchants@0:payable
-> booked
event r1 users@0 | debit merchants@0:payable 5.00 CNY ; credit bank@0:main 5.00 CNY | reverse e1
-> pending
tick 2000000
later r1 refused account_closed
"
}
