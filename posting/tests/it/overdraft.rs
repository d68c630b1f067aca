//! Legs that bring an overdraft: how far below zero they may take their account. The words are explained in [`crate::script`].

use crate::script::cases;

cases! {
a_leg_takes_its_account_below_zero_up_to_its_overdraft: "
event e1 users@0 | debit users@0:wallet 5.01 CNY overdraft 5.00 ; credit bank@0:main 5.01 CNY
-> refused insufficient_funds retryable
event e2 users@0 | debit users@0:wallet 5.00 CNY overdraft 5.00 ; credit bank@0:main 5.00 CNY
-> booked
event e3 users@0 | debit users@0:wallet 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
event e4 users@0 | debit bank@0:main 4.00 CNY ; credit users@0:wallet 4.00 CNY
-> booked
event e5 users@0 | debit users@0:wallet 900.00 CNY overdraft unlimited ; credit bank@0:main 900.00 CNY
-> booked
event e6 users@0 | debit users@0:wallet max CNY overdraft unlimited ; credit bank@0:main max CNY
-> refused overflow
balance users@0:wallet 901.00 Dr CNY seq 3
"

an_overdraft_is_never_stricter_than_the_account: "
event e1 users@0 | debit users@0:credit 100.00 CNY overdraft 5.00 ; credit bank@0:main 100.00 CNY
-> booked
event e2 users@0 | debit users@0:credit 0.01 CNY overdraft 5.00 ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
event e3 merchants@0 | debit merchants@0:payable 7.00 CNY overdraft 0.00 ; credit bank@0:main 7.00 CNY
-> booked
event l1 users@0 | | limit users@0:wallet CNY least unlimited
-> booked
event e4 users@0 | debit users@0:wallet 50.00 CNY overdraft 1.00 ; credit bank@0:main 50.00 CNY
-> booked
balance users@0:credit 100.00 Dr CNY seq 1
"

a_minimum_is_passed_down_to_zero_and_below: "
event e1 depots@0 | debit depots@0:stock 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event e2 depots@0 | debit bank@0:main 10.01 CNY ; credit depots@0:stock 10.01 CNY overdraft 0.00
-> refused insufficient_funds retryable
event e3 depots@0 | debit bank@0:main 10.00 CNY ; credit depots@0:stock 10.00 CNY overdraft 0.00
-> booked
event e4 depots@0 | debit bank@0:main 3.00 CNY ; credit depots@0:stock 3.00 CNY overdraft 3.00
-> booked
event l1 users@0 | | limit users@0:wallet CNY least 20.00
-> booked
event e5 users@0 | debit bank@0:main 20.00 CNY ; credit users@0:wallet 20.00 CNY
-> booked
event e6 users@0 | debit users@0:wallet 23.00 CNY overdraft 3.00 ; credit bank@0:main 23.00 CNY
-> booked
balance depots@0:stock 3.00 Cr CNY seq 3
balance users@0:wallet 3.00 Dr CNY seq 2
"

a_leg_that_adds_to_its_account_has_no_use_of_an_overdraft: "
event e1 purses@0 | debit bank@0:main 50.01 CNY ; credit purses@0:cash 50.01 CNY overdraft unlimited
-> refused balance_too_high retryable
event e2 depots@0 | debit depots@0:stock 90.01 CNY overdraft unlimited ; credit bank@0:main 90.01 CNY
-> refused balance_too_high retryable
event e3 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY overdraft unlimited
-> refused insufficient_funds retryable
event e4 users@0 | debit users@0:wallet 9.00 CNY ; credit users@0:wallet 1.00 CNY overdraft unlimited ; credit bank@0:main 8.00 CNY
-> refused insufficient_funds retryable
"

of_several_legs_of_an_account_the_largest_overdraft_counts: "
event e1 users@0 | debit users@0:wallet 4.00 CNY overdraft 1.00 ; debit users@0:wallet 3.00 CNY ; debit users@0:wallet 2.00 CNY overdraft 8.99 ; credit bank@0:main 9.00 CNY
-> refused insufficient_funds retryable
event e2 users@0 | debit users@0:wallet 4.00 CNY overdraft 1.00 ; debit users@0:wallet 3.00 CNY ; debit users@0:wallet 2.00 CNY overdraft 9.00 ; credit bank@0:main 9.00 CNY
-> booked
event e3 users@0 | debit users@0b:wallet 4.00 CNY overdraft unlimited ; debit users@0b:wallet 4.00 USD ; credit bank@0:main 4.00 CNY ; credit bank@0:main 4.00 USD
-> refused insufficient_funds retryable
balance users@0:wallet 9.00 Dr CNY seq 3
"

an_overdraft_beside_what_is_on_hold: "
event e1 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event h1 users@0 | debit users@0:wallet 8.00 CNY | hold 0
-> booked
event e2 users@0 | debit users@0:wallet 5.01 CNY overdraft 3.00 ; credit bank@0:main 5.01 CNY
-> refused insufficient_funds retryable
event e3 users@0 | debit users@0:wallet 5.00 CNY overdraft 3.00 ; credit bank@0:main 5.00 CNY
-> booked
event c1 users@0 | debit users@0:wallet 8.00 CNY ; credit merchants@0:payable 8.00 CNY | capture h1
-> booked
balance users@0:wallet 3.00 Dr CNY seq 3
"

a_hold_with_an_overdraft_and_its_capture: "
event h1 users@0 | debit users@0:wallet 8.01 CNY overdraft 8.00 | hold 0
-> refused insufficient_funds retryable
event h2 users@0 | debit users@0:wallet 8.00 CNY overdraft 8.00 | hold 0
-> booked
event e1 users@0 | debit bank@0:main 7.00 CNY ; credit users@0:wallet 7.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
event c1 users@0 | debit users@0:wallet 8.00 CNY ; credit merchants@0:payable 8.00 CNY | capture h2
-> booked
balance users@0:wallet 1.00 Dr CNY seq 2
"

as_much_as_there_is_with_an_overdraft: "
event e1 users@0 | debit users@0:wallet 9.00 CNY overdraft 4.00 ; credit merchants@0:payable 9.00 CNY | at_most debit
-> booked
balance users@0:wallet 4.00 Dr CNY seq 1
event e2 users@0 | debit users@0:wallet 1.00 CNY overdraft 4.00 ; credit merchants@0:payable 1.00 CNY | at_most debit
-> refused insufficient_funds retryable
event e3 users@0 | debit users@0:wallet 6.00 CNY overdraft unlimited ; credit merchants@0:payable 6.00 CNY | at_most debit
-> booked
balance users@0:wallet 10.00 Dr CNY seq 2
"

a_payer_elsewhere_with_an_overdraft: "
partitions 2
event e1 orders@0 | debit users@1:wallet 5.01 CNY overdraft 5.00 ; credit merchants@0:payable 5.01 CNY
-> refused insufficient_funds retryable by p1
event e2 orders@0 | debit users@1:wallet 5.00 CNY overdraft 5.00 ; credit merchants@0:payable 5.00 CNY
-> booked by p1
event e3 orders@0 | debit users@1:wallet 9.00 CNY overdraft unlimited ; credit merchants@0:payable 9.00 CNY
-> booked by p1
balance users@1:wallet 14.00 Dr CNY seq 2
"

payers_of_several_partitions_with_overdrafts: "
partitions 3
event e1 orders@0 | debit users@1:wallet 5.00 CNY overdraft 5.00 ; debit users@2:wallet 3.00 CNY ; credit merchants@0:payable 8.00 CNY
-> refused insufficient_funds retryable
event e2 orders@0 | debit users@1:wallet 5.01 CNY overdraft 5.00 ; debit users@2:wallet 3.00 CNY overdraft unlimited ; credit merchants@0:payable 8.01 CNY
-> refused insufficient_funds retryable
event e3 orders@0 | debit users@1:wallet 5.00 CNY overdraft 5.00 ; debit users@2:wallet 3.00 CNY overdraft unlimited ; debit users@0:wallet 1.00 CNY overdraft 1.00 ; credit merchants@0:payable 9.00 CNY
-> booked
event e4 orders@0 | debit users@0:wallet 0.01 CNY overdraft 1.00 ; debit users@1:wallet 1.00 CNY overdraft unlimited ; credit merchants@0:payable 1.01 CNY
-> refused insufficient_funds retryable
balance users@0:wallet 1.00 Dr CNY seq 1
balance users@1:wallet 5.00 Dr CNY seq 1
balance users@2:wallet 3.00 Dr CNY seq 1
"

an_overdraft_asked_for_elsewhere_is_on_hold_for_nobody_else: "
partitions 3
event e0 orders@0 | debit bank@0:main 100.00 CNY ; credit users@1:wallet 100.00 CNY
-> booked
pause 1
event e1 orders@0 | debit users@1:wallet 30.00 CNY ; debit users@2:wallet 5.00 CNY overdraft 5.00 ; credit merchants@0:payable 35.00 CNY
-> pending
event e2 users@2 | debit users@2:wallet 0.01 CNY overdraft 5.00 ; credit bank@2:main 0.01 CNY
-> refused insufficient_funds retryable
event e3 users@2 | debit users@2:wallet 0.01 CNY overdraft 5.01 ; credit bank@2:main 0.01 CNY
-> booked
resume 1
later e1 booked
balance users@2:wallet 5.01 Dr CNY seq 2
"

several_legs_of_an_account_elsewhere_and_one_overdraft: "
partitions 3
event e1 orders@0 | debit users@1:wallet 4.00 CNY ; debit users@2:wallet 1.00 CNY overdraft 1.00 ; debit users@1:wallet 5.00 CNY overdraft 8.00 ; credit users@1:wallet 1.00 CNY ; credit merchants@0:payable 9.00 CNY
-> booked
balance users@1:wallet 8.00 Dr CNY seq 3
"

a_counted_account_is_not_moved_faster_for_an_overdraft: "
event e1 cards@0 | debit cards@0:main 40.01 CNY overdraft unlimited ; credit bank@0:main 40.01 CNY
-> refused velocity_exceeded retryable
event f1 users@0 | | freeze users@0:wallet debit
-> booked
event e2 users@0 | debit users@0:wallet 1.00 CNY overdraft unlimited ; credit bank@0:main 1.00 CNY
-> refused account_frozen retryable
"

an_adjustment_with_an_overdraft: "
partitions 2
event p1 orders@0 | debit users@1:wallet 3.00 CNY overdraft 3.00 ; credit bank@0:main 3.00 CNY | propose anna
-> booked
event a1 orders@0 | | approve bert p1
-> booked by p1
balance users@1:wallet 3.00 Dr CNY seq 1
"

what_gives_back_brings_no_overdraft_but_its_own: "
tick 1000000
event e1 users@0 | debit users@0:wallet 5.00 CNY overdraft 5.00 ; credit purses@0:cash 5.00 CNY
-> booked
event e2 users@0 | debit purses@0:cash 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
event r1 users@0 | | reverse e1
-> pending
tick 2000000
later r1 refused insufficient_funds retryable
event r2 users@0 | debit purses@0:cash 5.00 CNY overdraft 5.00 ; credit users@0:wallet 5.00 CNY | reverse e1
-> pending
tick 3000000
later r2 booked
balance purses@0:cash 5.00 Dr CNY seq 3
balance users@0:wallet 0.00 CNY seq 2
"
}
