//! Ledger cases: events in, answers and balances out. The words are explained in [`crate::script`].

use crate::script::cases;

cases! {
transfer: "
event e1 users@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 30.00 CNY ; credit users@0b:wallet 30.00 CNY
-> booked
balance bank@0:main    100.00 Dr CNY seq 1
balance users@0:wallet  70.00 Cr CNY seq 2
balance users@0b:wallet 30.00 Cr CNY seq 1
"

many_legs: "
event e1 users@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 50.00 CNY ; credit merchants@0:payable 49.70 CNY ; credit fees@0:card 0.30 CNY
-> booked
balance users@0:wallet       50.00 Cr CNY seq 2
balance merchants@0:payable  49.70 Cr CNY seq 1
balance fees@0:card           0.30 Cr CNY seq 1
"

many_assets_each_balanced_by_itself: "
event e1 users@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 70.00 CNY ; credit bank@0:fx 70.00 CNY ; debit bank@0:fx 10.00 USD ; credit users@0:wallet 10.00 USD
-> booked
balance users@0:wallet 30.00 Cr CNY seq 2
balance users@0:wallet 10.00 Cr USD seq 1
balance bank@0:fx      70.00 Cr CNY seq 1
balance bank@0:fx      10.00 Dr USD seq 1
event e3 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:fx 1.00 USD
-> refused unbalanced
"

same_account_twice_is_judged_after_all_legs: "
event e1 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY ; debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> booked
balance users@0:wallet 0.00 CNY seq 2
event e2 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY ; debit bank@0:main 4.99 CNY ; credit users@0:wallet 4.99 CNY
-> refused insufficient_funds retryable
balance users@0:wallet 0.00 CNY seq 2
event e3 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY ; debit bank@0:main 2.00 CNY ; credit users@0:wallet 2.00 CNY
-> booked
balance users@0:wallet 3.00 Cr CNY seq 4
"

overdraft_at_the_limit_and_one_beyond: "
event e1 users@0 | debit users@0:credit 100.00 CNY ; credit bank@0:main 100.00 CNY
-> booked
balance users@0:credit 100.00 Dr CNY seq 1
event e2 users@0 | debit users@0:credit 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
event e3 users@0b | debit users@0b:credit 100.01 CNY ; credit bank@0:main 100.01 CNY
-> refused insufficient_funds retryable
event e4 users@0 | debit users@0:credit 101 JPY ; credit bank@0:main 101 JPY
-> refused insufficient_funds retryable
event e5 users@0 | debit users@0:credit 100 JPY ; credit bank@0:main 100 JPY
-> booked
"

overdraft_on_the_debit_side: "
event e1 till@0 | debit till@0:cash 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
event e2 till@0 | debit bank@0:main 5.01 CNY ; credit till@0:cash 5.01 CNY
-> refused insufficient_funds retryable
event e3 till@0 | debit bank@0:main 5.00 CNY ; credit till@0:cash 5.00 CNY
-> booked
balance till@0:cash 0.00 CNY seq 2
"

an_account_without_a_limit_never_refuses: "
event e1 merchants@0 | debit merchants@0:payable 9000000.00 CNY ; credit bank@0:main 9000000.00 CNY
-> booked
balance merchants@0:payable 9000000.00 Dr CNY seq 1
"

back_towards_a_limit_that_has_moved: "
event e1 users@0 | debit users@0:credit 80.00 CNY ; credit bank@0:main 80.00 CNY
-> booked
chart all overdraft 100 becomes 10
event e2 users@0 | debit users@0:credit 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused insufficient_funds retryable
event e3 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:credit 5.00 CNY
-> booked
event e4 users@0 | debit users@0:credit 3.00 CNY ; credit bank@0:main 3.00 CNY ; debit bank@0:main 4.00 CNY ; credit users@0:credit 4.00 CNY
-> booked
balance users@0:credit 74.00 Dr CNY seq 4
event e5 users@0 | debit users@0:credit 4.00 CNY ; credit bank@0:main 4.00 CNY ; debit bank@0:main 3.00 CNY ; credit users@0:credit 3.00 CNY
-> refused insufficient_funds retryable
"

the_same_event_twice: "
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> booked
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> duplicate of booked
balance users@0:wallet 5.00 Cr CNY seq 1
"

the_same_event_three_times_in_one_window: "
pause 0
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | body other
resume 0
later e1 refused conflict
balance users@0:wallet 5.00 Cr CNY seq 1
"

the_same_id_with_another_body: "
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> booked
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | body other
-> refused conflict
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | body other
-> refused conflict
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> duplicate of booked
balance users@0:wallet 5.00 Cr CNY seq 1
"

a_refusal_stands_when_the_funds_come_later: "
event e1 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> refused insufficient_funds retryable
event e2 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> booked
event e1 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> duplicate of refused insufficient_funds retryable
event e3 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
balance users@0:wallet 0.00 CNY seq 2
"

several_payers_in_one_partition: "
event e0 users@0 | debit bank@0:main 20.00 CNY ; credit users@0:wallet 10.00 CNY ; credit users@0b:wallet 10.00 CNY
-> booked
event e1 users@0 | debit users@0:wallet 5.00 CNY ; debit users@0b:wallet 5.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 5.00 CNY ; debit users@0b:wallet 5.01 CNY ; credit bank@0:main 10.01 CNY
-> refused insufficient_funds retryable
event e3 users@0 | debit users@0:wallet 5.00 CNY ; debit users@0:credit 5.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event e4 users@0 | debit merchants@0:payable 5.00 CNY ; debit users@0b:wallet 5.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
balance users@0:wallet  0.00 CNY seq 3
balance users@0:credit  5.00 Dr CNY seq 1
balance users@0b:wallet 0.00 CNY seq 3
"

what_ingest_should_have_stopped: "
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 4.99 CNY
-> refused unbalanced
event e2 users@0 | debit bank@0:main 0.00 CNY ; credit users@0:wallet 0.00 CNY
-> refused bad_amount
event e3 users@0 | debit bank@0:main -5.00 CNY ; credit users@0:wallet -5.00 CNY
-> refused bad_amount
event e4 users@0 | neither bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> refused bad_amount
event e5 users@0 | debit bank@0:main 5.00 EUR ; credit users@0:wallet 5.00 EUR
-> refused unknown_asset
event e6 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:savings 5.00 CNY
-> refused unknown_account
event e7 users@0 | debit bank@0:main 5.00 USD ; credit merchants@0:reserve 5.00 USD
-> refused unknown_account
event e8 users@0 | debit bank@0:main 5.00 CNY ; credit suspense:p00 5.00 CNY
-> refused unknown_account
event e9 users@0 |
-> refused no_legs
balance bank@0:main 0.00 CNY seq 0
"

sixty_four_legs_and_not_one_more: "
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | times 32
-> booked
balance users@0:wallet 32.00 Cr CNY seq 32
event e2 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 0.50 CNY ; credit users@0:wallet 0.50 CNY | times 22
-> refused too_many_legs
balance users@0:wallet 32.00 Cr CNY seq 32
"

a_balance_at_the_end_of_its_range: "
event e1 users@0 | debit bank@0:main max JPY ; credit users@0:wallet max JPY
-> booked
event e2 users@0 | debit bank@0:main 1 JPY ; credit users@0:wallet 1 JPY
-> refused overflow
event e3 users@0 | debit bank@0b:main max JPY ; credit merchants@0:payable max JPY
-> booked
event e4 users@0 | debit bank@0:main max JPY ; debit bank@0:main max JPY ; credit merchants@0:payable max JPY ; credit merchants@0:payable max JPY
-> refused overflow
event e5 users@0 | debit users@0:wallet max-5 JPY ; credit bank@0:main max-5 JPY
-> booked
event e6 users@0 | debit bank@0:main 1 JPY ; credit users@0:wallet 1 JPY
-> booked
balance users@0:wallet 6 Cr JPY seq 3
"

insufficient_funds_comes_before_overflow: "
event e1 users@0 | debit bank@0:main max JPY ; credit merchants@0:payable max JPY
-> booked
event e2 users@0 | debit users@0:wallet 1 JPY ; debit bank@0:main 1 JPY ; credit merchants@0:payable 2 JPY
-> refused insufficient_funds retryable
event e3 users@0 | debit bank@0:main 1 JPY ; debit users@0:wallet 1 JPY ; credit merchants@0:payable 2 JPY
-> refused insufficient_funds retryable
event e4 users@0 | debit users@0b:credit max JPY ; credit merchants@0:payable max JPY
-> refused insufficient_funds retryable
event e5 users@0 | debit bank@0:main 1 JPY ; credit fees@0:card 1 JPY
-> refused overflow
"

large_amounts_across_partitions_neither_stop_nor_bend: "
partitions 2
event e1 users@0 | debit bank@0:main max JPY ; credit merchants@1:payable max JPY
-> refused overflow
event e2 users@0 | debit bank@0:main 2^101 JPY ; credit merchants@1:payable 2^101 JPY
-> refused overflow
event e3 users@0 | debit bank@0:main 2^100 JPY ; credit merchants@1:payable 2^100 JPY
-> booked
event e4 users@0 | debit bank@0:main max JPY ; credit fees@0:card max JPY
-> refused overflow
event e5 users@1 | debit bank@1:main max JPY ; credit fees@1:card max JPY
-> booked
event e6 users@1 | debit bank@1:main max JPY ; credit fees@1:card max JPY
-> refused overflow
event e7 users@0 | debit bank@0:main 2 JPY ; credit fees@1:card 2 JPY
-> booked
suspense 1 e7 fees@1:card overflow
balance suspense:p01 2 Cr JPY seq 1
event e8 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
marker 0 100
aligned 100 0 1
"

credits_of_two_partitions: "
partitions 2
event e1 users@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 5.00 CNY ; credit merchants@1:payable 4.90 CNY ; credit fees@1:card 0.10 CNY
-> booked
balance users@0:wallet          95.00 Cr CNY seq 2
balance merchants@1:payable      4.90 Cr CNY seq 1
balance fees@1:card              0.10 Cr CNY seq 1
balance clearing:out:p00:p01     5.00 Cr CNY seq 1
balance clearing:in:p00:p01      5.00 Dr CNY seq 1
"

one_clearing_entry_for_a_window: "
partitions 2
pause 0
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
event e2 users@0 | debit bank@0:main 3.00 CNY ; credit merchants@1:payable 3.00 CNY
event e3 users@0 | debit merchants@1:payable 2.00 CNY ; credit bank@0:main 2.00 CNY
event e4 users@0 | debit bank@0:main 7.00 USD ; credit merchants@1:payable 7.00 USD
resume 0
balance clearing:out:p00:p01 6.00 Cr CNY seq 1
balance clearing:in:p00:p01  6.00 Dr CNY seq 1
balance clearing:out:p00:p01 7.00 Cr USD seq 1
balance merchants@1:payable  6.00 Cr CNY seq 3
"

credits_that_cancel_leave_no_clearing_entry: "
partitions 2
pause 0
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
event e2 users@0 | debit merchants@1:payable 5.00 CNY ; credit bank@0:main 5.00 CNY
resume 0
balance clearing:out:p00:p01 0.00 CNY seq 0
balance clearing:in:p00:p01  0.00 CNY seq 0
balance merchants@1:payable  0.00 CNY seq 2
"

a_payer_elsewhere_is_asked: "
partitions 2
event e1 users@1 | debit bank@1:main 9.00 CNY ; credit users@1:wallet 9.00 CNY
-> booked
event e2 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> booked by p1
event e3 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> refused insufficient_funds retryable by p1
balance users@1:wallet       4.00 Cr CNY seq 2
balance merchants@0:payable  5.00 Cr CNY seq 1
balance clearing:out:p01:p00 5.00 Cr CNY seq 1
balance clearing:in:p01:p00  5.00 Dr CNY seq 1
balance clearing:out:p00:p01 0.00 CNY seq 0
"

the_same_event_while_its_verdict_is_out: "
partitions 2
event e1 users@1 | debit bank@1:main 9.00 CNY ; credit users@1:wallet 9.00 CNY
-> booked
pause 1
event e2 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> pending
event e2 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> duplicate of pending
event e2 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY | body other
-> refused conflict
resume 1
later e2 booked by p1
event e2 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> duplicate of booked
event e3 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> refused insufficient_funds retryable by p1
event e3 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> duplicate of refused insufficient_funds retryable
balance users@1:wallet 4.00 Cr CNY seq 2
"

home_payer_and_payee_in_three_partitions: "
partitions 3
event e1 users@1 | debit bank@1:main 9.00 CNY ; credit users@1:wallet 9.00 CNY
-> booked
event e2 orders@0 | debit users@1:wallet 5.00 CNY ; credit merchants@2:payable 4.00 CNY ; credit fees@0:card 1.00 CNY
-> booked by p1
balance merchants@2:payable  4.00 Cr CNY seq 1
balance fees@0:card          1.00 Cr CNY seq 1
balance clearing:out:p01:p02 4.00 Cr CNY seq 1
balance clearing:out:p01:p00 1.00 Cr CNY seq 1
"

all_legs_elsewhere: "
partitions 3
event e1 orders@0 | debit bank@1:main 5.00 CNY ; credit merchants@2:payable 5.00 CNY
-> booked
balance bank@1:main          5.00 Dr CNY seq 1
balance merchants@2:payable  5.00 Cr CNY seq 1
balance clearing:out:p00:p01 5.00 Dr CNY seq 1
balance clearing:in:p00:p01  5.00 Cr CNY seq 1
balance clearing:out:p00:p02 5.00 Cr CNY seq 1
balance clearing:in:p00:p02  5.00 Dr CNY seq 1
event e2 orders@0 | debit users@1:wallet 5.00 CNY ; credit merchants@2:payable 5.00 CNY
-> refused insufficient_funds retryable by p1
"

payers_of_a_partition_elsewhere_are_decided_there: "
partitions 2
event e0 users@1 | debit bank@1:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@1b:wallet 10.00 CNY
-> booked
event e1 orders@0 | debit users@1:wallet 5.00 CNY ; debit users@1b:wallet 5.00 CNY ; credit merchants@0:payable 10.00 CNY
-> booked by p1
event e2 orders@0 | debit users@1:wallet 5.00 CNY ; debit users@1b:wallet 5.01 CNY ; credit merchants@0:payable 10.01 CNY
-> refused insufficient_funds retryable by p1
"

payers_of_several_partitions_all_or_none: "
partitions 3
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@2:wallet 10.00 CNY
-> booked
event e1 orders@0 | debit users@1:wallet 5.00 CNY ; debit users@2:wallet 5.00 CNY ; credit merchants@2:payable 10.00 CNY
-> booked
event e2 orders@0 | debit users@1:wallet 5.00 CNY ; debit users@2:wallet 5.01 CNY ; credit merchants@0:payable 10.01 CNY
-> refused insufficient_funds retryable
balance users@1:wallet 5.00 Cr CNY seq 2
balance users@2:wallet 5.00 Cr CNY seq 2
event e2 orders@0 | debit users@1:wallet 5.00 CNY ; debit users@2:wallet 5.01 CNY ; credit merchants@0:payable 10.01 CNY
-> duplicate of refused insufficient_funds retryable
event e3 orders@0 | debit users@1:wallet 5.00 CNY ; debit users@2:wallet 5.00 CNY ; credit merchants@0:payable 10.00 CNY
-> booked
event e3 orders@0 | debit users@1:wallet 5.00 CNY ; debit users@2:wallet 5.00 CNY ; credit merchants@0:payable 10.00 CNY
-> duplicate of booked
balance users@1:wallet 0.00 CNY seq 3
balance users@2:wallet 0.00 CNY seq 3
balance merchants@0:payable 10.00 Cr CNY seq 1
"

a_payer_at_home_is_put_on_hold_like_the_others: "
partitions 2
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@0:wallet 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
event e1 users@0 | debit users@0:wallet 4.00 CNY ; debit users@1:wallet 6.00 CNY ; credit bank@1:main 10.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 6.01 CNY ; debit users@1:wallet 1.00 CNY ; credit bank@1:main 7.01 CNY
-> refused insufficient_funds retryable
event e3 users@0 | debit users@0:wallet 6.00 CNY ; debit users@1:wallet 4.01 CNY ; credit bank@1:main 10.01 CNY
-> refused insufficient_funds retryable
balance users@0:wallet 6.00 Cr CNY seq 2
event e4 users@0 | debit users@0:wallet 6.00 CNY ; credit bank@0:main 6.00 CNY
-> booked
"

what_is_on_hold_is_spent_by_nobody_else: "
partitions 3
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@2:wallet 10.00 CNY
-> booked
pause 2
event e1 orders@0 | debit users@1:wallet 6.00 CNY ; debit users@2:wallet 5.00 CNY ; credit merchants@0:payable 11.00 CNY
-> pending
event e1 orders@0 | debit users@1:wallet 6.00 CNY ; debit users@2:wallet 5.00 CNY ; credit merchants@0:payable 11.00 CNY
-> duplicate of pending
event e2 users@1 | debit users@1:wallet 4.01 CNY ; credit bank@1:main 4.01 CNY
-> refused insufficient_funds retryable
event e3 users@1 | debit users@1:wallet 4.00 CNY ; credit bank@1:main 4.00 CNY
-> booked
balance users@1:wallet 6.00 Cr CNY seq 2
resume 2
later e1 booked
balance users@1:wallet 0.00 CNY seq 3
balance users@2:wallet 5.00 Cr CNY seq 2
"

an_event_whose_answers_do_not_come_is_refused: "
partitions 3
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@2:wallet 10.00 CNY
-> booked
tick 1000000
pause 2
event e1 orders@0 | debit users@1:wallet 6.00 CNY ; debit users@2:wallet 5.00 CNY ; credit merchants@0:payable 11.00 CNY
-> pending
tick 10999999
later e1 pending
tick 11000000
later e1 refused timed_out retryable
event e2 users@1 | debit users@1:wallet 10.00 CNY ; credit bank@1:main 10.00 CNY
-> booked
resume 2
later e1 refused timed_out retryable
event e3 users@2 | debit users@2:wallet 10.00 CNY ; credit bank@2:main 10.00 CNY
-> booked
balance users@1:wallet 0.00 CNY seq 2
balance users@2:wallet 0.00 CNY seq 2
"

an_account_that_gets_something_back_holds_the_rest: "
partitions 2
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@0:wallet 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
event e1 orders@0 | credit users@1:wallet 7.00 CNY ; debit users@1:wallet 9.00 CNY ; debit users@1:wallet 8.00 CNY ; debit users@0:wallet 1.00 CNY ; credit bank@0:main 11.00 CNY
-> booked
balance users@1:wallet 0.00 CNY seq 4
event e2 orders@0 | credit users@1:wallet 7.00 CNY ; debit users@1:wallet 7.00 CNY ; debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
balance users@1:wallet 0.00 CNY seq 6
balance users@0:wallet 8.00 Cr CNY seq 3
"

a_hold_is_captured_in_parts: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event h1 users@0 | debit users@0:wallet 6.00 CNY | hold 0
-> booked
balance users@0:wallet 10.00 Cr CNY seq 1
event e1 users@0 | debit users@0:wallet 4.01 CNY ; credit bank@0:main 4.01 CNY
-> refused insufficient_funds retryable
event h2 users@0 | debit users@0:wallet 4.01 CNY | hold 0
-> refused insufficient_funds retryable
event c1 users@0 | debit users@0:wallet 2.00 CNY ; credit merchants@0:payable 2.00 CNY | capture h1
-> booked
event c1 users@0 | debit users@0:wallet 2.00 CNY ; credit merchants@0:payable 2.00 CNY | capture h1
-> duplicate of booked
event c2 users@0 | debit users@0:wallet 4.01 CNY ; credit merchants@0:payable 4.01 CNY | capture h1
-> refused exceeds_hold
event c3 users@0 | debit users@0:wallet 3.00 CNY ; credit merchants@0:payable 3.00 CNY | capture h1 final
-> booked
event c4 users@0 | debit users@0:wallet 1.00 CNY ; credit merchants@0:payable 1.00 CNY | capture h1
-> refused hold_not_open
event e2 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
balance users@0:wallet      0.00 CNY seq 4
balance merchants@0:payable 5.00 Cr CNY seq 2
"

a_hold_that_is_released_is_spent_like_any_money: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event h1 users@0 | debit users@0:wallet 10.00 CNY | hold 0
-> booked
event r1 users@0 | | release h1
-> booked
event r1 users@0 | | release h1
-> duplicate of booked
event r2 users@0 | | release h1
-> refused hold_not_open
event e1 users@0 | debit users@0:wallet 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event c1 users@0 | debit users@0:wallet 10.00 CNY ; credit bank@0:main 10.00 CNY | capture h1
-> refused hold_not_open
"

a_hold_is_over_when_its_time_is: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
tick 1000000
event h1 users@0 | debit users@0:wallet 10.00 CNY | hold 60
-> booked
tick 60999999
event c1 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | capture h1
-> booked
event e1 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused insufficient_funds retryable
tick 61000000
event c2 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | capture h1
-> refused hold_not_open
event e2 users@0 | debit users@0:wallet 9.00 CNY ; credit bank@0:main 9.00 CNY
-> booked
"

a_hold_in_another_partition_than_its_home: "
partitions 3
event e0 orders@0 | debit bank@0:main 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
event h1 orders@0 | debit users@1:wallet 6.00 CNY | hold 0
-> booked by p1
event e1 users@1 | debit users@1:wallet 5.00 CNY ; credit bank@1:main 5.00 CNY
-> refused insufficient_funds retryable
event c1 orders@0 | debit users@1:wallet 4.00 CNY ; credit merchants@2:payable 3.00 CNY ; credit fees@0:card 1.00 CNY | capture h1
-> booked by p1
event c2 orders@1 | debit users@1:wallet 1.00 CNY ; credit merchants@2:payable 1.00 CNY | capture h1
-> refused unknown_hold retryable
event c3 orders@0 | debit users@2:wallet 1.00 CNY ; credit merchants@2:payable 1.00 CNY | capture h1
-> refused hold_mismatch by p1
event c4 orders@0 | debit users@1:wallet 1.00 CNY ; debit users@2:wallet 1.00 CNY ; credit merchants@2:payable 2.00 CNY | capture h1
-> refused hold_mismatch by p1
event r1 orders@0 | | release h1
-> booked by p1
balance users@1:wallet 6.00 Cr CNY seq 2
event e2 users@1 | debit users@1:wallet 6.00 CNY ; credit bank@1:main 6.00 CNY
-> booked
"

a_capture_right_behind_its_hold: "
partitions 2
event e0 orders@0 | debit bank@0:main 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
pause 1
event h1 orders@0 | debit users@1:wallet 6.00 CNY | hold 0
-> pending
event c1 orders@0 | debit users@1:wallet 6.00 CNY ; credit merchants@1:payable 6.00 CNY | capture h1
-> pending
resume 1
later h1 booked by p1
later c1 booked by p1
"

a_capture_that_overtakes_its_hold_waits_for_it: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
tick 1000000
event c1 users@0 | debit users@0:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY | capture h1
-> pending
event c2 users@0 | debit users@0:wallet 3.00 CNY ; credit merchants@0:payable 3.00 CNY | capture h1
-> pending
event c1 users@0 | debit users@0:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY | capture h1
-> duplicate of pending
event c3 users@0 | debit users@0:wallet 3.00 CNY ; credit merchants@0:payable 3.00 CNY | capture c3
-> refused unknown_hold retryable
event h1 users@0 | debit users@0:wallet 6.00 CNY | hold 0
-> booked
balance merchants@0:payable 4.00 Cr CNY seq 1
later c1 booked
later c2 refused exceeds_hold
event c1 users@0 | debit users@0:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY | capture h1
-> duplicate of booked
event r1 users@0 | | release h2
-> pending
event h2 users@0 | debit users@0:wallet 100.00 CNY | hold 0
-> refused insufficient_funds retryable
later r1 refused hold_not_open
event r3 users@0 | | release h3
-> pending
tick 10999999
later r3 pending
tick 11000000
later r3 refused unknown_hold retryable
"

a_capture_that_overtakes_a_hold_in_another_partition: "
partitions 2
event e0 orders@0 | debit bank@0:main 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
tick 1000000
event c1 orders@0 | debit users@1:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY | capture h1
-> pending
event h1 orders@0 | debit users@1:wallet 6.00 CNY | hold 0
-> booked by p1
later c1 booked by p1
balance users@1:wallet 6.00 Cr CNY seq 2
"

an_event_is_given_back_whole_and_only_once: "
event e1 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 6.00 CNY ; credit merchants@0:payable 5.90 CNY ; credit fees@0:card 0.10 CNY
-> booked
event r1 users@0 | | reverse e2
-> pending
tick 1
later r1 booked
balance users@0:wallet 10.00 Cr CNY seq 3
balance fees@0:card 0.00 CNY seq 2
event r1 users@0 | | reverse e2
-> duplicate of booked
event r2 users@0 | | reverse e2
-> pending
tick 2
later r2 refused exceeds_original
balance users@0:wallet 10.00 Cr CNY seq 3
"

a_refund_in_parts_gives_back_no_more_than_was_moved: "
event e1 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 6.00 CNY ; credit merchants@0:payable 6.00 CNY
-> booked
event r1 users@0 | debit merchants@0:payable 4.00 CNY ; credit users@0:wallet 4.00 CNY | reverse e2
event r2 users@0 | debit merchants@0:payable 2.01 CNY ; credit users@0:wallet 2.01 CNY | reverse e2
-> pending
tick 1
later r1 booked
later r2 refused exceeds_original
event r3 users@0 | debit merchants@0:payable 0.01 USD ; credit users@0:wallet 0.01 USD | reverse e2
event r4 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | reverse e2
event r5 users@0 | | reverse e2
-> pending
tick 2
later r3 refused exceeds_original
later r4 booked
later r5 refused exceeds_original
event r6 users@0 | debit merchants@0:payable 1.00 CNY ; credit users@0:wallet 1.00 CNY | reverse e2
-> pending
tick 3
later r6 booked
event r7 users@0 | debit merchants@0:payable 0.01 CNY ; credit users@0:wallet 0.01 CNY | reverse e2
-> pending
tick 4
later r7 refused exceeds_original
balance users@0:wallet 10.00 Cr CNY seq 5
balance merchants@0:payable 1.00 Cr CNY seq 3
"

what_cannot_be_given_back: "
event r0 users@0 | | reverse e9
-> refused unknown_event retryable
tick 1
event r1 users@0 | | reverse r1
-> refused not_reversible
event e1 users@0 | debit users@0:wallet 6.00 CNY ; credit merchants@0:payable 6.00 CNY
-> refused insufficient_funds retryable
event r2 users@0 | | reverse e1
-> refused not_reversible
event h1 users@0 | debit users@0:credit 6.00 CNY | hold 0
-> booked
event r3 users@0 | | reverse h1
event e2 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY
event r4 users@0 | | reverse e2
event r5 users@0 | | reverse r4
-> pending
tick 2
tick 3
later r3 refused not_reversible
later r4 booked
tick 4
tick 5
later r5 refused not_reversible
event r6 users@0 | | reverse e8
-> pending
tick 10000004
later r6 pending
tick 10000005
later r6 refused unknown_event retryable
balance users@0:wallet 0.00 CNY seq 2
"

a_reversal_that_overtakes_its_event: "
partitions 2
tick 1
event e0 orders@0 | debit bank@0:main 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
event r1 orders@0 | | reverse e1
-> pending
event e1 orders@0 | debit users@1:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY
-> booked by p1
later r1 pending
tick 2
later r1 booked
balance users@1:wallet 10.00 Cr CNY seq 3
"

who_was_paid_is_asked_before_an_event_is_given_back: "
partitions 3
event e0 orders@0 | debit bank@0:main 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
event e1 orders@0 | debit users@1:wallet 6.00 CNY ; credit users@2:wallet 6.00 CNY
-> booked by p1
event e2 orders@0 | debit users@2:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked by p2
event r1 orders@0 | | reverse e1
-> pending
tick 1
later r1 refused insufficient_funds retryable
event r2 orders@0 | debit users@2:wallet 5.00 CNY ; credit users@1:wallet 5.00 CNY | reverse e1
-> pending
tick 2
later r2 booked
event r3 orders@0 | debit bank@0:main 1.01 CNY ; credit users@1:wallet 1.01 CNY | reverse e1
event r4 orders@0 | debit bank@0:main 1.00 CNY ; credit users@1:wallet 1.00 CNY | reverse e1
-> pending
tick 3
later r3 refused exceeds_original
later r4 booked
balance users@1:wallet 10.00 Cr CNY seq 4
balance users@2:wallet 0.00 CNY seq 3
"

an_event_is_given_back_past_a_limit_where_the_chart_forces_it: "
partitions 2
event e1 orders@0 | debit bank@0:main 200.00 CNY ; credit users@1:credit 200.00 CNY
-> booked
event e2 orders@0 | debit users@1:credit 190.00 CNY ; credit bank@0:main 190.00 CNY
-> booked by p1
event r1 orders@0 | | reverse e1
-> pending
tick 1
later r1 booked
balance users@1:credit 190.00 Dr CNY seq 3
event e3 orders@0 | debit users@1:credit 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused insufficient_funds retryable by p1
"

a_capture_and_an_event_of_several_payers_are_given_back: "
partitions 3
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@2:wallet 10.00 CNY
-> booked
event h1 orders@0 | debit users@1:wallet 6.00 CNY | hold 0
-> booked by p1
event c1 orders@0 | debit users@1:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY | capture h1
-> booked by p1
event e1 orders@0 | debit users@1:wallet 1.00 CNY ; debit users@2:wallet 2.00 CNY ; credit merchants@0:payable 3.00 CNY
-> booked
event r1 orders@0 | | reverse c1
event r2 orders@0 | | reverse e1
-> pending
tick 1
later r1 booked
later r2 booked
balance users@1:wallet 10.00 Cr CNY seq 5
balance users@2:wallet 10.00 Cr CNY seq 3
balance merchants@0:payable 0.00 CNY seq 4
"

an_account_is_frozen_on_a_side_and_thawed: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event f1 users@0 | | freeze users@0:wallet debit
-> booked
event e1 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused account_frozen retryable
event h1 users@0 | debit users@0:wallet 1.00 CNY | hold 0
-> refused account_frozen retryable
event e2 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY
-> booked
event f2 users@0 | | freeze users@0:wallet
-> booked
event e3 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY
-> refused account_frozen retryable
event f3 users@0 | | unfreeze users@0:wallet credit
-> booked
event e4 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY
-> booked
event e5 users@0 | debit users@0:wallet 100.00 CNY ; credit bank@0:main 100.00 CNY
-> refused account_frozen retryable
event f4 users@0 | | unfreeze users@0:wallet
-> booked
event e6 users@0 | debit users@0:wallet 12.00 CNY ; credit bank@0:main 12.00 CNY
-> booked
"

an_account_is_closed_when_nothing_is_in_it: "
event e0 users@0 | debit bank@0:main 10.00 CNY ; credit users@0:wallet 10.00 CNY
-> booked
event c1 users@0 | | close users@0:wallet
-> refused account_not_empty retryable
event e1 users@0 | debit users@0:wallet 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event c2 users@0 | | close users@0:wallet
-> booked
event c3 users@0 | | close users@0:wallet
-> refused account_closed
event e2 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY
-> refused account_closed
event o1 users@0 | | open users@0:wallet
-> booked
event e3 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY
-> booked
event c4 users@0 | | close users@0:savings
-> refused unknown_account
"

an_account_with_something_on_hold_is_not_closed: "
event h1 users@0 | debit users@0:credit 1.00 CNY | hold 0
-> booked
event c1 users@0 | | close users@0:credit
-> refused account_not_empty retryable
event r1 users@0 | | release h1
-> booked
event c2 users@0 | | close users@0:credit
-> booked
"

what_an_account_gives_and_gets_is_agreed_to_together: "
partitions 2
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@0:wallet 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
event f1 orders@0 | | freeze users@1:wallet credit
-> booked by p1
event e1 users@0 | debit users@1:wallet 9.00 CNY ; credit users@1:wallet 8.00 CNY ; debit users@0:wallet 1.00 CNY ; credit merchants@0:payable 2.00 CNY
-> refused account_frozen retryable
event f2 orders@0 | | unfreeze users@1:wallet
-> booked by p1
event f3 orders@0 | | freeze users@1:wallet debit
-> booked by p1
event e2 users@0 | debit users@1:wallet 1.00 CNY ; debit users@0:wallet 5.00 CNY ; credit users@1:wallet 6.00 CNY
-> refused account_frozen retryable
balance users@0:wallet 10.00 Cr CNY seq 1
balance users@1:wallet 10.00 Cr CNY seq 1
event f4 orders@0 | | unfreeze users@1:wallet
-> booked by p1
event e3 users@0 | debit users@1:wallet 1.00 CNY ; debit users@0:wallet 5.00 CNY ; credit users@1:wallet 6.00 CNY
-> booked
balance users@1:wallet 15.00 Cr CNY seq 3
"

an_account_that_is_guarded_is_asked_wherever_it_lives: "
partitions 2
event e1 orders@0 | debit vault@1:gold 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused account_not_open retryable by p1
event e2 vault@0 | debit vault@0:gold 1.00 CNY ; debit vault@1:gold 1.00 CNY ; credit bank@0:main 2.00 CNY
-> refused account_not_open retryable
event o1 orders@0 | | open vault@1:gold
-> booked by p1
event e3 orders@0 | debit vault@1:gold 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked by p1
event e4 vault@0 | debit vault@0:gold 1.00 CNY ; debit vault@1:gold 1.00 CNY ; credit bank@0:main 2.00 CNY
-> refused account_not_open retryable
balance vault@1:gold 1.00 Dr CNY seq 1
"

an_account_that_must_be_opened_first: "
event e1 users@0 | debit vault@0:gold 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused account_not_open retryable
event o1 users@0 | | open vault@0:gold
-> booked
event e2 users@0 | debit vault@0:gold 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
"

what_comes_in_for_a_closed_account_elsewhere: "
partitions 2
event c1 orders@0 | | close merchants@1:payable
-> booked by p1
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
suspense 1 e1 merchants@1:payable account_closed
balance suspense:p01 5.00 Cr CNY seq 1
"

a_hold_that_was_refused: "
event h1 users@0 | debit users@0:wallet 6.00 CNY | hold 0
-> refused insufficient_funds retryable
event c1 users@0 | debit users@0:wallet 6.00 CNY ; credit merchants@0:payable 6.00 CNY | capture h1
-> refused hold_not_open
event c2 users@0 | debit users@0:wallet 6.00 CNY ; credit merchants@0:payable 6.00 CNY | capture h9
-> refused unknown_hold retryable
event h2 users@0 | debit users@0:wallet 6.00 CNY ; credit merchants@0:payable 6.00 CNY | hold 0
-> refused too_many_legs
event r1 users@0 | debit users@0:wallet 6.00 CNY ; credit merchants@0:payable 6.00 CNY | release h2
-> refused too_many_legs
"

a_hold_that_was_refused_in_another_partition: "
partitions 2
event h1 orders@0 | debit users@1:wallet 6.00 CNY | hold 0
-> refused insufficient_funds retryable by p1
event c1 orders@0 | debit users@1:wallet 6.00 CNY ; credit merchants@1:payable 6.00 CNY | capture h1
-> refused hold_not_open
"

a_hold_that_is_over_within_the_window: "
event e0 users@0 | debit bank@0:main 20.00 CNY ; credit users@0:wallet 20.00 CNY
-> booked
event h1 users@0 | debit users@0:wallet 5.00 CNY | hold 0
-> booked
event h2 users@0 | debit users@0:wallet 15.00 CNY | hold 0
-> booked
pause 0
event c1 users@0 | debit users@0:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY | capture h1
event c2 users@0 | debit users@0:wallet 1.00 CNY ; credit merchants@0:payable 1.00 CNY | capture h1
event e1 users@0 | debit users@0:wallet 15.00 CNY ; credit bank@0:main 15.00 CNY
event r1 users@0 | | release h2
event r2 users@0 | | release h2
event e2 users@0 | debit users@0:wallet 15.00 CNY ; credit bank@0:main 15.00 CNY
resume 0
later c1 booked
later c2 refused hold_not_open
later e1 refused insufficient_funds retryable
later r2 refused hold_not_open
later e2 booked
balance users@0:wallet 0.00 CNY seq 3
"

what_was_on_hold_for_a_refused_event_can_be_spent_in_the_window_that_hears_of_it: "
partitions 3
event e0 users@1 | debit bank@1:main 10.00 CNY ; credit users@1:wallet 10.00 CNY
-> booked
pause 2
event e1 orders@0 | debit users@1:wallet 6.00 CNY ; debit users@2:wallet 6.00 CNY ; credit bank@0:main 12.00 CNY
later e1 pending
event e2 users@1 | debit users@1:wallet 10.00 CNY ; credit bank@1:main 10.00 CNY
later e2 refused insufficient_funds retryable
pause 1
resume 2
later e1 refused insufficient_funds retryable
event e3 users@1 | debit users@1:wallet 10.00 CNY ; credit bank@1:main 10.00 CNY
resume 1
later e3 booked
"

holds_in_two_assets_of_an_account: "
event e0 users@0 | debit bank@0:main 9.00 CNY ; credit users@0:wallet 9.00 CNY ; debit bank@0:main 9.00 USD ; credit users@0:wallet 9.00 USD
-> booked
event h1 users@0 | debit users@0:wallet 8.00 CNY | hold 0
-> booked
event h2 users@0 | debit users@0:wallet 7.00 USD | hold 0
-> booked
event e1 users@0 | debit users@0:wallet 1.01 CNY ; credit bank@0:main 1.01 CNY
-> refused insufficient_funds retryable
event e2 users@0 | debit users@0:wallet 2.01 USD ; credit bank@0:main 2.01 USD
-> refused insufficient_funds retryable
event e3 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY ; debit users@0:wallet 2.00 USD ; credit bank@0:main 2.00 USD
-> booked
"

funds_on_hold_are_good_for_their_capture_when_the_limit_has_moved: "
event h1 users@0 | debit users@0:credit 80.00 CNY | hold 0
-> booked
chart all overdraft 100 becomes 10
event e1 users@0 | debit users@0:credit 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused insufficient_funds retryable
event c1 users@0 | debit users@0:credit 80.00 CNY ; credit bank@0:main 80.00 CNY | capture h1
-> booked
balance users@0:credit 80.00 Dr CNY seq 1
"

an_event_that_waited_over_the_end_of_its_day: "
partitions 3
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@2:wallet 10.00 CNY
-> booked
pause 2
event e1 orders@0 | debit users@1:wallet 6.00 CNY ; debit users@2:wallet 5.00 CNY ; credit merchants@0:payable 11.00 CNY
-> pending
marker 0 100
resume 2
later e1 booked
dated e1 101 carried from 100
aligned 100 0 1 2
"

an_adjustment_is_booked_when_another_principal_approves_it: "
tick 1000000
event p1 desk@0 | debit fees@0:card 3.00 CNY ; credit users@0:wallet 3.00 CNY | propose anna
-> booked
balance users@0:wallet 0.00 CNY seq 0
event p1 desk@0 | debit fees@0:card 3.00 CNY ; credit users@0:wallet 3.00 CNY | propose anna
-> duplicate of booked
event a1 desk@0 | | approve anna p1
-> refused self_approval
event a2 desk@0 | | approve - p1
-> refused no_principal
event a3 desk@0 | | approve bert p1
-> booked
balance users@0:wallet 3.00 Cr CNY seq 1
balance fees@0:card    3.00 Dr CNY seq 1
event a3 desk@0 | | approve bert p1
-> duplicate of booked
event a4 desk@0 | | approve carl p1
-> refused proposal_not_open
event r1 desk@0 | | reject anna p1
-> refused proposal_not_open
balance users@0:wallet 3.00 Cr CNY seq 1
"

an_adjustment_is_rejected_by_anybody_who_is_known: "
event p1 desk@0 | debit fees@0:card 3.00 CNY ; credit users@0:wallet 3.00 CNY | propose anna
-> booked
event r1 desk@0 | | reject - p1
-> refused no_principal
event r2 desk@0 | | reject anna p1
-> booked
event a1 desk@0 | | approve bert p1
-> refused proposal_not_open
event p2 desk@0 | debit fees@0:card 3.00 CNY ; credit users@0:wallet 3.00 CNY | propose -
-> refused no_principal
event a2 desk@0 | | approve bert p2
-> refused proposal_not_open
event p3 desk@0 | debit fees@0:card 3.00 CNY ; credit users@0:wallet 2.00 CNY | propose anna
-> refused unbalanced
event a3 desk@0 | | approve bert p9
-> refused unknown_proposal retryable
event e1 desk@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> booked
event a4 desk@0 | | approve bert e1
-> refused proposal_not_open
event a5 desk@0 | debit fees@0:card 9.00 CNY ; credit users@0:wallet 9.00 CNY | approve bert p1
-> refused too_many_legs
balance users@0:wallet 5.00 Cr CNY seq 1
"

an_adjustment_of_a_payer_elsewhere: "
partitions 2
event p1 desk@0 | debit users@1:wallet 3.00 CNY ; credit fees@0:card 3.00 CNY | propose anna
-> booked
event a1 desk@0 | | approve bert p1
-> refused insufficient_funds retryable by p1
event e1 users@1 | debit bank@1:main 9.00 CNY ; credit users@1:wallet 9.00 CNY
-> booked
pause 1
event a2 desk@0 | | approve bert p1
-> pending
event a3 desk@0 | | approve carl p1
-> refused proposal_not_open
event r1 desk@0 | | reject carl p1
-> refused proposal_not_open
resume 1
later a2 booked by p1
event a4 desk@0 | | approve carl p1
-> refused proposal_not_open
balance users@1:wallet 6.00 Cr CNY seq 2
balance fees@0:card    3.00 Cr CNY seq 1
"

an_adjustment_of_payers_of_several_partitions: "
partitions 3
tick 1000000
event e0 orders@0 | debit bank@0:main 20.00 CNY ; credit users@1:wallet 10.00 CNY ; credit users@2:wallet 4.00 CNY ; credit users@0:wallet 6.00 CNY
-> booked
event p1 desk@0 | debit users@1:wallet 5.00 CNY ; debit users@2:wallet 5.00 CNY ; credit fees@0:card 10.00 CNY | propose anna
-> booked
event a1 desk@0 | | approve bert p1
-> refused insufficient_funds retryable
event e1 users@2 | debit bank@2:main 9.00 CNY ; credit users@2:wallet 9.00 CNY
-> booked
pause 2
event a2 desk@0 | | approve bert p1
-> pending
event a2 desk@0 | | approve bert p1
-> duplicate of pending
event a3 desk@0 | | approve carl p1
-> refused proposal_not_open
resume 2
later a2 booked
balance users@1:wallet 5.00 Cr CNY seq 2
balance users@2:wallet 8.00 Cr CNY seq 3
balance fees@0:card   10.00 Cr CNY seq 1
"

an_approval_that_overtakes_its_proposal_waits_for_it: "
partitions 2
tick 1000000
event a1 desk@0 | | approve bert p1
-> pending
event a2 desk@0 | | approve anna p1
-> pending
event p1 desk@0 | debit bank@1:main 3.00 CNY ; credit users@1:wallet 3.00 CNY | propose anna
-> booked
later a1 booked
balance users@1:wallet 3.00 Cr CNY seq 1
event r1 desk@0 | | reject bert p2
-> pending
event p2 desk@0 | debit bank@1:main 3.00 CNY ; credit users@1:wallet 3.00 CNY | propose anna
-> booked
later r1 booked
event a3 desk@0 | | approve bert p3
-> pending
tick 10999999
later a3 pending
tick 11000000
later a3 refused unknown_proposal retryable
balance users@1:wallet 3.00 Cr CNY seq 1
"

a_case_in_suspense_is_retried_with_four_eyes: "
partitions 2
tick 1000000
event c1 desk@1 | | close merchants@1:payable
-> booked
event e1 bank@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
suspense 1 e1 merchants@1:payable account_closed
event r1 desk@1 | | resolve anna 1-0-2
-> refused case_not_open
event r2 desk@0 | | resolve anna 1-0-1
-> refused case_not_open
event r3 desk@1 | | resolve - 1-0-1
-> refused no_principal
event r4 desk@1 | | resolve anna 1-0-1
-> booked
balance suspense:p01 5.00 Cr CNY seq 1
event r5 desk@1 | | resolve bert 1-0-1
-> refused case_not_open
event a1 desk@1 | | approve anna r4
-> refused self_approval
event a2 desk@1 | | approve bert r4
-> refused account_closed
event o1 desk@1 | | open merchants@1:payable
-> booked
event a3 desk@1 | | approve bert r4
-> booked
balance suspense:p01 0.00 CNY seq 2
balance merchants@1:payable 5.00 Cr CNY seq 1
event a4 desk@1 | | approve carl r4
-> refused proposal_not_open
event r6 desk@1 | | resolve anna 1-0-1
-> refused case_not_open
balance suspense:p01 0.00 CNY seq 2
"

a_case_in_suspense_is_redirected: "
partitions 2
chart 1 without merchants:*:payable
event e1 bank@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
suspense 1 e1 merchants@1:payable unknown_account
event r1 desk@1 | | resolve anna 1-0-1
-> refused unknown_account
event r2 desk@1 | | resolve anna 1-0-1 users@1:wallet
-> booked
event a1 desk@1 | | approve bert r2
-> booked
balance suspense:p01 0.00 CNY seq 2
balance users@1:wallet 5.00 Cr CNY seq 1
"

a_case_that_is_not_resolved_stays_open: "
partitions 2
tick 1000000
event c1 desk@1 | | close merchants@1:payable
-> booked
event e1 bank@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
event r1 desk@1 | | resolve anna 1-0-1 users@1:wallet
-> booked
event n1 desk@1 | | reject bert r1
-> booked
event a1 desk@1 | | approve bert r1
-> refused proposal_not_open
event r2 desk@1 | | resolve bert 1-0-1 users@1:wallet
-> booked
tick 604801000000
event a2 desk@1 | | approve anna r2
-> refused proposal_not_open
event r3 desk@1 | | resolve bert 1-0-1 users@1:wallet
-> booked
event a3 desk@1 | | approve anna r3
-> booked
balance suspense:p01 0.00 CNY seq 2
balance users@1:wallet 5.00 Cr CNY seq 1
"

a_case_that_goes_to_another_partition_may_be_one_there: "
partitions 3
tick 1000000
event c1 desk@1 | | close merchants@1:payable
-> booked
event c2 desk@2 | | close merchants@2:payable
-> booked
event e1 bank@0 | debit merchants@1:payable 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
balance suspense:p01 5.00 Dr CNY seq 1
event r1 desk@1 | | resolve anna 1-0-1 merchants@2:payable
-> booked
event a1 desk@1 | | approve bert r1
-> booked
balance suspense:p01 0.00 CNY seq 2
suspense 2 a1 merchants@2:payable account_closed
balance suspense:p02 5.00 Dr CNY seq 1
event r2 desk@2 | | resolve bert 2-1-1 fees@2:card
-> booked
event a2 desk@2 | | approve anna r2
-> booked
balance suspense:p02 0.00 CNY seq 2
balance fees@2:card 5.00 Dr CNY seq 1
"

a_proposal_is_over_when_its_time_is: "
tick 1000000
event p1 desk@0 | debit fees@0:card 3.00 CNY ; credit users@0:wallet 3.00 CNY | propose anna
-> booked
tick 604800999999
event p2 desk@0 | debit fees@0:card 4.00 CNY ; credit users@0:wallet 4.00 CNY | propose anna
-> booked
tick 604801000000
event a1 desk@0 | | approve bert p1
-> refused proposal_not_open
event a2 desk@0 | | approve bert p2
-> booked
balance users@0:wallet 4.00 Cr CNY seq 1
"

a_payee_unknown_to_its_partition: "
partitions 2
chart 1 without merchants:*:payable
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
suspense 1 e1 merchants@1:payable unknown_account
balance suspense:p01         5.00 Cr CNY seq 1
balance merchants@1:payable  0.00 CNY seq 0
balance clearing:in:p00:p01  5.00 Dr CNY seq 1
event e2 users@0 | debit bank@0:main 2.00 CNY ; credit fees@1:card 2.00 CNY
-> booked
balance fees@1:card          2.00 Cr CNY seq 1
"

a_decider_that_does_not_know_the_payer: "
partitions 2
chart 1 without users:*:credit
event e1 merchants@0 | debit users@1:credit 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> refused unknown_account by p1
event e1 merchants@0 | debit users@1:credit 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> duplicate of refused unknown_account
"
}
