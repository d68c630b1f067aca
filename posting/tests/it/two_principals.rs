//! Ledger cases about what takes two principals: what a proposal, an approval, a rejection and a move of suspense are refused
//! for, as payments are. The words are explained in [`crate::script`].

use crate::script::cases;

cases! {
a_proposal_is_refused_like_a_payment: "
event p1 desk@0 | | propose anna
-> refused no_legs
event p2 desk@0 | debit fees@0:card 1.00 CNY ; credit users@0:wallet 1.00 CNY | propose anna, times 33
-> refused too_many_legs
event p3 desk@0 | debit fees@0:card 0.00 CNY ; credit users@0:wallet 0.00 CNY | propose anna
-> refused bad_amount
event p4 desk@0 | debit fees@0:card 1.00 EUR ; credit users@0:wallet 1.00 EUR | propose anna
-> refused unknown_asset
event p5 desk@0 | debit fees@0:card 1.00 CNY ; credit users@0:savings 1.00 CNY | propose anna
-> refused unknown_account
event p6 desk@0 | debit bank@0:main max JPY ; debit bank@0:main max JPY ; credit fees@0:card max JPY ; credit fees@0:card max JPY | propose anna
-> refused overflow
event p7 desk@0 | debit fees@0:card 1.00 CNY ; credit users@0:wallet 1.00 CNY | propose anna
-> booked
event p7 desk@0 | debit fees@0:card 1.00 CNY ; credit users@0:wallet 1.00 CNY | propose anna, body other
-> refused conflict
"

an_approval_is_refused_for_the_limits_of_its_accounts: "
tick 1000000
event p1 desk@0 | debit bank@0:main 51.00 CNY ; credit purses@0:cash 51.00 CNY | propose anna
-> booked
event a1 desk@0 | | approve bert p1
-> refused balance_too_high retryable
event p2 desk@0 | debit cards@0:main 31.00 CNY ; credit bank@0:main 31.00 CNY | propose anna
-> booked
event a2 desk@0 | | approve bert p2
-> refused velocity_exceeded retryable
"

an_approval_is_refused_like_a_payment: "
tick 1
event f1 users@0 | | freeze users@0:wallet
-> booked
event p1 desk@0 | debit fees@0:card 1.00 CNY ; credit users@0:wallet 1.00 CNY | propose anna
-> booked
event a1 desk@0 | | approve bert p1
-> refused account_frozen retryable
event a1 desk@0 | | approve bert p1, body other
-> refused conflict
event c1 users@0 | | close users@0b:wallet
-> booked
event p2 desk@0 | debit fees@0:card 1.00 CNY ; credit users@0b:wallet 1.00 CNY | propose anna
-> booked
event a2 desk@0 | | approve bert p2
-> refused account_closed
event p3 desk@0 | debit vault@0:gold 1.00 CNY ; credit fees@0:card 1.00 CNY | propose anna
-> booked
event a3 desk@0 | | approve bert p3
-> refused account_not_open retryable
event e1 users@0 | debit bank@0:main max JPY ; credit fees@0:card max JPY
-> booked
event p4 desk@0 | debit bank@0:main 1 JPY ; credit fees@0:card 1 JPY | propose anna
-> booked
event a4 desk@0 | | approve bert p4
-> refused overflow
event n1 desk@0 | | reject bert p4
-> booked
event n1 desk@0 | | reject bert p4, body other
-> refused conflict
event n2 desk@0 | | reject bert p9
-> pending
tick 10000001
later n2 refused unknown_proposal retryable
"

an_approval_whose_answers_do_not_come: "
partitions 3
tick 1000000
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@2:wallet 10.00 CNY
-> booked
event p1 desk@0 | debit users@1:wallet 5.00 CNY ; debit users@2:wallet 5.00 CNY ; credit fees@0:card 10.00 CNY | propose anna
-> booked
pause 2
event a1 desk@0 | | approve bert p1
-> pending
tick 11000000
later a1 refused timed_out retryable
resume 2
event a2 desk@0 | | approve bert p1
-> booked
balance fees@0:card 10.00 Cr CNY seq 1
"

what_takes_two_principals_is_not_given_back_by_one: "
tick 1
event p1 desk@0 | debit fees@0:card 3.00 CNY ; credit users@0:wallet 3.00 CNY | propose anna
-> booked
event a1 desk@0 | | approve bert p1
-> booked
event r1 desk@0 | | reverse a1
-> pending
event r2 desk@0 | | reverse p1
-> pending
tick 2
later r1 refused not_reversible
later r2 refused not_reversible
balance users@0:wallet 3.00 Cr CNY seq 1
"

a_move_of_suspense_is_refused: "
partitions 2
tick 1
event c1 desk@1 | | close merchants@1:payable
-> booked
event e1 bank@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
event r1 desk@1 | | resolve anna 1-0-1 users@1:savings
-> refused unknown_account
event r2 desk@1 | | resolve anna 1-0-1
-> booked
event r2 desk@1 | | resolve anna 1-0-1, body other
-> refused conflict
"
}
