//! Limits of accounts: how little and how much they may hold. The words are explained in [`crate::script`].

use crate::script::cases;

cases! {
an_account_holds_at_most_its_maximum: "
event e1 purses@0 | debit bank@0:main 50.00 CNY ; credit purses@0:cash 50.00 CNY
-> booked
event e2 purses@0 | debit bank@0:main 0.01 CNY ; credit purses@0:cash 0.01 CNY
-> refused balance_too_high retryable
event e3 purses@0 | debit purses@0:cash 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event e4 purses@0 | debit bank@0:main 10.01 CNY ; credit purses@0:cash 10.01 CNY
-> refused balance_too_high retryable
event e5 purses@0 | debit bank@0:main 10.00 CNY ; credit purses@0:cash 10.00 CNY
-> booked
event e6 purses@0 | debit bank@0:main 50 JPY ; credit purses@0:cash 50 JPY
-> booked
event e7 purses@0 | debit bank@0:main 1 JPY ; credit purses@0:cash 1 JPY
-> refused balance_too_high retryable
balance purses@0:cash 50.00 Cr CNY seq 3
"

a_maximum_is_judged_after_all_legs: "
event e1 purses@0 | debit bank@0:main 60.00 CNY ; credit purses@0:cash 60.00 CNY ; debit purses@0:cash 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event e2 purses@0 | debit bank@0:main 9.00 CNY ; credit purses@0:cash 9.00 CNY ; debit purses@0:cash 9.00 CNY ; credit bank@0:main 9.00 CNY
-> booked
event e3 purses@0 | debit bank@0:main 9.00 CNY ; credit purses@0:cash 9.00 CNY ; debit purses@0:cash 8.99 CNY ; credit bank@0:main 8.99 CNY
-> refused balance_too_high retryable
balance purses@0:cash 50.00 Cr CNY seq 4
"

least_and_most_on_the_debit_side: "
event e1 depots@0 | debit depots@0:stock 90.01 CNY ; credit bank@0:main 90.01 CNY
-> refused balance_too_high retryable
event e2 depots@0 | debit depots@0:stock 90.00 CNY ; credit bank@0:main 90.00 CNY
-> booked
event e3 depots@0 | debit bank@0:main 88.01 CNY ; credit depots@0:stock 88.01 CNY
-> refused insufficient_funds retryable
event e4 depots@0 | debit bank@0:main 88.00 CNY ; credit depots@0:stock 88.00 CNY
-> booked
event e5 depots@0b | debit bank@0:main 0.01 CNY ; credit depots@0b:stock 0.01 CNY
-> refused insufficient_funds retryable
event e6 depots@0b | debit depots@0b:stock 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
event e7 depots@0b | debit bank@0:main 1.00 CNY ; credit depots@0b:stock 1.00 CNY
-> refused insufficient_funds retryable
event e8 depots@0 | debit depots@0:stock 41 JPY ; credit bank@0:main 41 JPY
-> refused balance_too_high retryable
event e9 depots@0 | debit depots@0:stock 40 JPY ; credit bank@0:main 40 JPY
-> booked
balance depots@0:stock 2.00 Dr CNY seq 2
"

insufficient_funds_come_before_a_balance_too_high: "
event e1 purses@0 | credit purses@0:cash 60.00 CNY ; debit users@0:wallet 60.00 CNY
-> refused insufficient_funds retryable
event e2 bank@0 | debit bank@0:main max JPY ; credit merchants@0:payable max JPY
-> booked
event e3 purses@0 | debit bank@0:main 51 JPY ; credit purses@0:cash 51 JPY
-> refused balance_too_high retryable
event e4 purses@0 | debit bank@0:main 50 JPY ; credit purses@0:cash 50 JPY
-> refused overflow
"

back_below_a_maximum_that_has_moved: "
event e1 purses@0 | debit bank@0:main 50.00 CNY ; credit purses@0:cash 50.00 CNY
-> booked
chart all max_balance 50 becomes 10
event e2 purses@0 | debit bank@0:main 0.01 CNY ; credit purses@0:cash 0.01 CNY
-> refused balance_too_high retryable
event e3 purses@0 | debit purses@0:cash 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
event e4 purses@0 | debit purses@0:cash 5.00 CNY ; credit purses@0:cash 4.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
balance purses@0:cash 44.00 Cr CNY seq 4
"

a_payee_with_a_maximum_is_asked_where_it_lives: "
partitions 2
event e1 users@0 | debit bank@0:main 50.01 CNY ; credit purses@1:cash 50.01 CNY
-> refused balance_too_high retryable by p1
event e2 users@0 | debit bank@0:main 50.00 CNY ; credit purses@1:cash 50.00 CNY
-> booked by p1
balance purses@1:cash 50.00 Cr CNY seq 1
balance suspense:p01 0.00 CNY seq 0
"

payer_and_payee_both_have_limits: "
partitions 2
event e0 users@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
-> booked
event e1 users@0 | debit users@0:wallet 50.01 CNY ; credit purses@1:cash 50.01 CNY
-> refused balance_too_high retryable
event e2 users@0 | debit users@0:wallet 50.00 CNY ; credit purses@1:cash 50.00 CNY
-> booked
event e3 users@0 | debit users@0b:wallet 1.00 CNY ; credit purses@1:cash 1.00 CNY
-> refused insufficient_funds retryable
event e4 users@0 | debit purses@1:cash 20.00 CNY ; credit purses@0:cash 20.00 CNY
-> booked
balance users@0:wallet 50.00 Cr CNY seq 2
balance purses@1:cash  30.00 Cr CNY seq 2
balance purses@0:cash  20.00 Cr CNY seq 1
"

room_that_an_event_waits_for_is_taken_by_nobody_else: "
partitions 3
event e0 orders@0 | debit bank@0:main 100.00 CNY ; credit users@1:wallet 100.00 CNY
-> booked
pause 1
event e1 orders@0 | debit users@1:wallet 30.00 CNY ; credit purses@2:cash 30.00 CNY
-> pending
event e2 orders@0 | debit users@1:wallet 30.00 CNY ; credit purses@2:cash 30.00 CNY
-> refused balance_too_high retryable
event e3 purses@2 | debit bank@2:main 20.01 CNY ; credit purses@2:cash 20.01 CNY
-> refused balance_too_high retryable
event e4 purses@2 | debit bank@2:main 20.00 CNY ; credit purses@2:cash 20.00 CNY
-> booked
event e5 purses@2 | debit purses@2:cash 20.01 CNY ; credit bank@2:main 20.01 CNY
-> refused insufficient_funds retryable
resume 1
later e1 booked
balance purses@2:cash  50.00 Cr CNY seq 2
balance users@1:wallet 70.00 Cr CNY seq 2
"

room_of_an_event_that_was_refused_is_free_again: "
partitions 3
event e1 orders@0 | debit users@1:wallet 30.00 CNY ; credit purses@2:cash 30.00 CNY
-> refused insufficient_funds retryable
event e2 purses@2 | debit bank@2:main 50.00 CNY ; credit purses@2:cash 50.00 CNY
-> booked
"

a_hold_of_an_account_with_a_maximum: "
event e1 purses@0 | debit bank@0:main 50.00 CNY ; credit purses@0:cash 50.00 CNY
-> booked
event h1 purses@0 | debit purses@0:cash 20.00 CNY | hold 0
-> booked
event e2 purses@0 | debit bank@0:main 0.01 CNY ; credit purses@0:cash 0.01 CNY
-> refused balance_too_high retryable
event e3 purses@0 | debit purses@0:cash 30.01 CNY ; credit bank@0:main 30.01 CNY
-> refused insufficient_funds retryable
event c1 purses@0 | debit purses@0:cash 20.00 CNY ; credit purses@0b:cash 20.00 CNY | capture h1
-> refused hold_mismatch
event c2 purses@0 | debit purses@0:cash 20.00 CNY ; credit merchants@0:payable 20.00 CNY | capture h1
-> booked
balance purses@0:cash 30.00 Cr CNY seq 2
"

an_account_gets_limits_of_its_own: "
event l1 users@0 | | limit users@0:wallet CNY least -5.00
-> booked
event e1 users@0 | debit users@0:wallet 5.01 CNY ; credit bank@0:main 5.01 CNY
-> refused insufficient_funds retryable
event e2 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
event e3 users@0 | debit users@0:wallet 1.00 USD ; credit bank@0:main 1.00 USD
-> refused insufficient_funds retryable
event l2 users@0 | | limit users@0:wallet CNY least unlimited
-> booked
event e4 users@0 | debit users@0:wallet 100.00 CNY ; credit bank@0:main 100.00 CNY
-> booked
event l3 users@0 | | limit users@0:wallet CNY least chart
-> booked
event e5 users@0 | debit users@0:wallet 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
event e6 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY
-> booked
event l1 users@0 | | limit users@0:wallet CNY least -5.00
-> duplicate of booked
balance users@0:wallet 104.00 Dr CNY seq 3
"

a_minimum_and_a_maximum_of_its_own: "
event l1 purses@0 | | limit purses@0:cash CNY least 10.00 most 20.00
-> booked
event e1 purses@0 | debit bank@0:main 20.01 CNY ; credit purses@0:cash 20.01 CNY
-> refused balance_too_high retryable
event e2 purses@0 | debit bank@0:main 20.00 CNY ; credit purses@0:cash 20.00 CNY
-> booked
event e3 purses@0 | debit purses@0:cash 10.01 CNY ; credit bank@0:main 10.01 CNY
-> refused insufficient_funds retryable
event l2 purses@0 | | limit purses@0:cash CNY most 5.00
-> refused limits_contradict retryable
event l3 purses@0 | | limit purses@0:cash CNY least chart most 5.00
-> booked
event e4 purses@0 | debit purses@0:cash 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
event e5 purses@0 | debit bank@0:main 0.50 CNY ; credit purses@0:cash 0.50 CNY
-> refused balance_too_high retryable
event l4 purses@0 | | limit purses@0:cash CNY most unlimited
-> booked
event e6 purses@0 | debit bank@0:main 500.00 CNY ; credit purses@0:cash 500.00 CNY
-> booked
balance purses@0:cash 519.00 Cr CNY seq 3
"

limits_that_nobody_would_ask_about: "
event l1 users@0 | | limit users@0:wallet CNY most 20.00
-> refused limit_not_in_chart
event l2 merchants@0 | | limit merchants@0:payable CNY least 0.00
-> refused limit_not_in_chart
event l3 merchants@0 | | limit merchants@0:reserve USD least 0.00
-> refused unknown_account
event l4 users@0 | | limit users@0:wallet EUR least 0.00
-> refused unknown_asset
event l5 users@0 | | limit users@0:savings CNY least 0.00
-> refused unknown_account
event c1 users@0 | | close users@0:wallet
-> booked
event l6 users@0 | | limit users@0:wallet CNY least -1.00
-> refused account_closed
event l7 users@0 | debit users@0:wallet 1.00 CNY | limit users@0:wallet CNY least -1.00
-> refused too_many_legs
"

a_guarded_account_may_get_any_limit: "
partitions 2
event o1 orders@0 | | open vault@1:gold
-> booked by p1
event l1 orders@0 | | limit vault@1:gold CNY least 0.00 most 9.00
-> booked by p1
event e0 users@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
-> booked
event e1 users@0 | debit vault@1:gold 9.01 CNY ; credit bank@0:main 9.01 CNY
-> refused balance_too_high retryable by p1
event e2 users@0 | debit vault@1:gold 9.01 CNY ; credit bank@0:main 9.01 CNY ; debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused balance_too_high retryable
event e3 users@0 | debit vault@1:gold 9.00 CNY ; credit bank@0:main 9.00 CNY ; debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
event e4 users@0 | debit bank@0:main 9.01 CNY ; credit vault@1:gold 9.01 CNY
-> refused insufficient_funds retryable by p1
balance vault@1:gold 9.00 Dr CNY seq 1
"

limits_that_leave_one_figure: "
event l1 purses@0 | | limit purses@0:cash CNY least 5.00 most 5.00
-> booked
event e1 purses@0 | debit bank@0:main 5.01 CNY ; credit purses@0:cash 5.01 CNY
-> refused balance_too_high retryable
event e2 purses@0 | debit bank@0:main 5.00 CNY ; credit purses@0:cash 5.00 CNY
-> booked
event e3 purses@0 | debit purses@0:cash 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
"

a_leg_of_which_nothing_is_held_is_agreed_to: "
partitions 2
event o1 orders@0 | | open vault@1:gold
-> booked by p1
event e0 users@0 | debit bank@0:main 9.00 CNY ; credit users@0:wallet 9.00 CNY
-> booked
event e1 vault@1 | debit vault@1:gold 5.00 CNY ; credit bank@1:main 5.00 CNY
-> booked
event l1 orders@0 | | limit vault@1:gold CNY most 1.00
-> booked by p1
event e2 users@0 | debit vault@1:gold 1.00 CNY ; credit vault@1:gold 2.00 CNY ; debit users@0:wallet 1.00 CNY
-> booked
balance vault@1:gold 4.00 Dr CNY seq 3
"

limits_and_what_is_on_hold: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event h1 users@0 | debit users@0:wallet 8.00 CNY | hold 0
-> booked
event l1 users@0 | | limit users@0:wallet CNY least 5.00
-> booked
event e1 users@0 | debit users@0:wallet 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
event h2 users@0 | debit users@0:wallet 0.01 CNY | hold 0
-> refused insufficient_funds retryable
event c1 users@0 | debit users@0:wallet 8.00 CNY ; credit merchants@0:payable 8.00 CNY | capture h1
-> booked
event l2 users@0 | | limit users@0:wallet CNY least -20.00
-> booked
event h3 users@0 | debit users@0:wallet 22.01 CNY | hold 0
-> refused insufficient_funds retryable
event h4 users@0 | debit users@0:wallet 22.00 CNY | hold 0
-> booked
"

limits_asked_for_at_a_home_elsewhere_in_the_same_window: "
partitions 2
pause 1
event l1 orders@0 | | limit users@1:wallet CNY least -5.00
-> pending
event e1 orders@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> pending
event l2 orders@0 | | limit users@1:wallet CNY least chart
-> pending
event e2 orders@0 | debit users@1:wallet 0.01 CNY ; credit merchants@0:payable 0.01 CNY
-> pending
resume 1
later l1 booked by p1
later e1 booked by p1
later l2 booked by p1
later e2 refused insufficient_funds retryable by p1
"

another_limit_under_the_same_id: "
event l1 users@0 | | limit users@0:wallet CNY least -5.00
-> booked
event l1 users@0 | | limit users@0:wallet CNY least -6.00, body other
-> refused conflict
event e1 users@0 | debit users@0:wallet 5.01 CNY ; credit bank@0:main 5.01 CNY
-> refused insufficient_funds retryable
"
}
