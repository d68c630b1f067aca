//! Events that book at most what one account has available. The words are explained in [`crate::script`].

use crate::script::cases;

cases! {
no_more_is_booked_than_the_payer_has: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event e1 users@0 | debit users@0:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY | at_most debit
-> booked
balance users@0:wallet 6.00 Cr CNY seq 2
event e2 users@0 | debit users@0:wallet 100.00 CNY ; credit merchants@0:payable 100.00 CNY | at_most debit
-> booked
balance users@0:wallet 0.00 CNY seq 3
balance merchants@0:payable 10.00 Cr CNY seq 2
event e3 users@0 | debit users@0:wallet 0.01 CNY ; credit merchants@0:payable 0.01 CNY | at_most debit
-> refused insufficient_funds retryable
event e2 users@0 | debit users@0:wallet 100.00 CNY ; credit merchants@0:payable 100.00 CNY | at_most debit
-> duplicate of booked
balance merchants@0:payable 10.00 Cr CNY seq 2
"

an_overdraft_is_available_and_what_is_on_hold_is_not: "
event h1 users@0 | debit users@0:credit 30.00 CNY | hold 0
-> booked
event e1 users@0 | debit users@0:credit 500.00 CNY ; credit bank@0:main 500.00 CNY | at_most debit
-> booked
balance users@0:credit 70.00 Dr CNY seq 1
event c1 users@0 | debit users@0:credit 30.00 CNY ; credit bank@0:main 30.00 CNY | capture h1
-> booked
balance users@0:credit 100.00 Dr CNY seq 2
event l1 users@0 | | limit users@0:credit CNY least -50.00
-> booked
event e2 users@0 | debit bank@0:main 20.00 CNY ; credit users@0:credit 20.00 CNY
-> booked
event e3 users@0 | debit users@0:credit 1.00 CNY ; credit bank@0:main 1.00 CNY | at_most debit
-> refused insufficient_funds retryable
"

a_payee_is_filled_to_its_maximum: "
event e1 purses@0 | debit bank@0:main 80.00 CNY ; credit purses@0:cash 80.00 CNY | at_most credit
-> booked
balance purses@0:cash 50.00 Cr CNY seq 1
event e2 purses@0 | debit bank@0:main 1.00 CNY ; credit purses@0:cash 1.00 CNY | at_most credit
-> refused insufficient_funds retryable
event e3 bank@0 | debit bank@0:main 7.00 CNY ; credit fees:card 7.00 CNY | at_most debit
-> booked
balance bank@0:main 57.00 Dr CNY seq 2
"

the_amount_is_fixed_where_the_payer_lives: "
partitions 3
event e0 bank@1 | debit bank@1:main 5.00 CNY ; credit users@1:wallet 5.00 CNY
-> booked
event e1 orders@0 | debit users@1:wallet 8.00 CNY ; credit merchants@2:payable 8.00 CNY | at_most debit
-> booked by p1
balance users@1:wallet 0.00 CNY seq 2
balance merchants@2:payable 5.00 Cr CNY seq 1
event e2 orders@0 | debit users@1:wallet 8.00 CNY ; credit merchants@2:payable 8.00 CNY | at_most debit
-> refused insufficient_funds retryable by p1
"

the_other_account_has_no_say: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event e1 users@0 | debit users@0:wallet 1.00 CNY ; credit purses@0:cash 1.00 CNY | at_most debit
-> refused at_most_mismatch
event e2 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | at_most credit
-> refused at_most_mismatch
event e3 users@0 | debit users@0:wallet 2.00 CNY ; credit bank@0:main 1.00 CNY ; credit fees:card 1.00 CNY | at_most debit
-> refused at_most_mismatch
event e4 users@0 | debit users@0:wallet 2.00 CNY ; credit bank@0:main 1.00 CNY | at_most debit
-> refused unbalanced
event e5 bank@0 | debit bank@0:main 1.00 CNY ; credit fees:card 1.00 CNY | at_most neither
-> refused at_most_mismatch
balance users@0:wallet 10.00 Cr CNY seq 1
"

a_velocity_counts_what_is_booked: "
event e1 cards@0 | debit cards@0:main 30.00 CNY ; credit bank@0:main 30.00 CNY | at_most debit
-> booked
event e2 cards@0 | debit cards@0:main 30.00 CNY ; credit bank@0:main 30.00 CNY | at_most debit
-> refused velocity_exceeded retryable
"

at_most_is_refused_like_a_payment: "
event e1 users@0 | debit users@0:wallet 0.00 CNY ; credit bank@0:main 0.00 CNY | at_most debit
-> refused bad_amount
event e2 users@0 | debit users@0:wallet 1.00 EUR ; credit bank@0:main 1.00 EUR | at_most debit
-> refused unknown_asset
event e3 users@0 | debit merchants@0:reserve 1.00 USD ; credit bank@0:main 1.00 USD | at_most debit
-> refused unknown_account
event e4 bank@0 | debit bank@0:main 1.00 CNY ; credit fees:card 1.00 CNY | at_most debit
-> booked
event e4 bank@0 | debit bank@0:main 2.00 CNY ; credit fees:card 2.00 CNY | at_most debit, body other
-> refused conflict
event e5 fees@0 | debit fees@0:card max JPY ; credit bank@0:main max JPY
-> booked
event e6 fees@0 | debit merchants@0:payable max JPY ; credit bank@0:main max JPY | at_most debit
-> refused overflow
event c1 users@0 | | close users@0:wallet
-> booked
event e7 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | at_most debit
-> refused account_closed
"

a_closed_account_comes_before_an_empty_one: "
event f1 users@0 | | freeze users@0:wallet debit
-> booked
event e1 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | at_most debit
-> refused account_frozen retryable
"
}
