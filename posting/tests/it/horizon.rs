//! Ledger cases about how long ids are remembered: what is recognised, what is looked up, what is parked and how that ends.
//! The words are explained in [`crate::script`].

use crate::script::cases;

cases! {
an_event_is_recognised_within_the_horizon: "
ids 60 600 5
tick 1000000
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 1
-> booked
tick 30000000
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 29
-> duplicate of booked
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 29, body other
-> refused conflict
balance users@0:wallet 1.00 Cr CNY seq 1
"

an_older_one_is_looked_up_where_it_says_that_it_is_old: "
ids 60 600 5
tick 1000000
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 1
-> booked
event e2 users@0 | debit users@0:wallet 9.00 CNY ; credit bank@0:main 9.00 CNY | occurred 1
-> refused insufficient_funds retryable
pass 30 95
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 1
-> duplicate of booked
event e1 users@0 | debit bank@0:main 2.00 CNY ; credit users@0:wallet 2.00 CNY | occurred 1
-> refused conflict
event e2 users@0 | debit users@0:wallet 9.00 CNY ; credit bank@0:main 9.00 CNY | occurred 35
-> duplicate of refused insufficient_funds retryable
balance users@0:wallet 1.00 Cr CNY seq 1
# It came at 1 s and may have said that it occurred 5 s later. What says 36 s is another event under an id used again.
event e2 users@0 | debit bank@0:main 3.00 CNY ; credit users@0:wallet 3.00 CNY | occurred 36
-> booked
event e2 users@0 | debit bank@0:main 3.00 CNY ; credit users@0:wallet 3.00 CNY | occurred 36
-> duplicate of booked
balance users@0:wallet 4.00 Cr CNY seq 2
"

what_may_be_older_than_anything_known_is_parked: "
ids 60 600 5
tick 1000000
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 1
-> booked
pass 200 400 600 805
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 1
-> pending
event e3 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | occurred 205
-> pending
event e4 users@0 | debit bank@0:main 7.00 CNY ; credit users@0:wallet 7.00 CNY | occurred 206
-> booked
event bad users@0 | debit bank@0:main 5.00 EUR ; credit users@0:wallet 5.00 EUR | occurred 1
-> refused unknown_asset
parked 0 e1 e3
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 1
-> duplicate of pending
event e1 users@0 | debit bank@0:main 2.00 CNY ; credit users@0:wallet 2.00 CNY | occurred 1
-> refused conflict
event n1 users@0 | | admit - e3
-> refused no_principal
event n2 users@0 | | admit anna e4
-> refused not_parked
event n3 users@0 | | turn_away anna nobody
-> refused not_parked
event a3 users@0 | | admit anna e3
-> booked
later e3 booked
event a1 users@0 | | turn_away anna e1
-> booked
later e1 refused turned_away
parked 0
event a1b users@0 | | admit anna e1
-> refused not_parked
event e3 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | occurred 205
-> duplicate of booked
event e1 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:wallet 1.00 CNY | occurred 1
-> duplicate of refused turned_away
balance users@0:wallet 13.00 Cr CNY seq 3
"

every_operation_that_was_parked_is_decided_when_it_is_let_in: "
partitions 3
ids 60 600 5
pass 1
event f1 bank@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 50.00 CNY ; credit users@1:wallet 50.00 CNY | occurred 1
-> booked
pass 200 400 600 805
event two users@0 | debit users@0:wallet 1.00 CNY ; debit users@1:wallet 2.00 CNY ; credit merchants@2:payable 3.00 CNY | occurred 9
-> pending
event away users@0 | debit users@1:wallet 4.00 CNY ; credit merchants@0:payable 4.00 CNY | occurred 9
-> pending
event poor users@0 | debit users@1:wallet 400.00 CNY ; credit merchants@0:payable 400.00 CNY | occurred 9
-> pending
event hold users@0 | debit users@1:wallet 5.00 CNY | hold 0, occurred 9
-> pending
event sweep users@0 | debit users@0:wallet 900.00 CNY ; credit merchants@0:payable 900.00 CNY | at_most debit, occurred 9
-> pending
event stop users@0 | | freeze users@1:wallet credit, occurred 9
-> pending
event lend users@0 | | limit users@1:wallet CNY least -5.00, occurred 9
-> pending
parked 0 two away poor hold sweep stop lend
event a1 users@0 | | admit anna two
event a2 users@0 | | admit anna away
event a3 users@0 | | admit anna poor
event a4 users@0 | | admit anna hold
-> booked
later two booked
later away booked by p1
later poor refused insufficient_funds retryable by p1
later hold booked by p1
event take users@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY | capture hold, occurred 9
-> pending
event a5 users@0 | | admit anna take
-> booked
later take booked by p1
event back users@0 | | reverse two, occurred 9
-> pending
event a6 users@0 | | admit anna back
-> booked
tick 806000000
later back booked
event a7 users@0 | | admit anna sweep
-> booked
later sweep booked
event a8 users@0 | | admit anna stop
-> booked
later stop booked by p1
event a9 users@0 | | admit anna lend
-> booked
later lend booked by p1
parked 0
balance users@0:wallet 0.00 CNY seq 4
balance users@1:wallet 41.00 Cr CNY seq 5
"

a_parked_reversal_of_what_never_came_ends_with_its_time: "
ids 60 600 5
pass 1 200 400 600 805
event back users@0 | | reverse ghost, occurred 9
-> pending
event gone users@0 | | release ghost, occurred 9
-> pending
event away users@0 | | reverse ghost2, occurred 9
-> pending
parked 0 back gone away
event a1 users@0 | | admit anna back
event a2 users@0 | | admit anna gone
event a3 users@0 | | turn_away anna away
-> booked
later back pending
later gone refused unknown_hold retryable
later away refused turned_away
tick 830000000
later back refused unknown_event retryable
"

what_moves_nothing_by_itself_is_never_parked: "
ids 60 600 5
pass 1 200 400 600 805
event p1 desk@0 | debit fees@0:card 1.00 CNY ; credit users@0:wallet 1.00 CNY | propose anna, occurred 1
-> booked
event y1 desk@0 | | approve bert p1, occurred 1
-> booked
balance users@0:wallet 1.00 Cr CNY seq 1
"

references_reach_as_far_as_ids_are_kept: "
ids 60 600 5
tick 1000000
event f1 users@0 | debit bank@0:main 9.00 CNY ; credit users@0:wallet 9.00 CNY | occurred 1
-> booked
event h1 users@0 | debit users@0:wallet 5.00 CNY | hold 0, occurred 1
-> booked
pass 200 400
event c1 users@0 | debit users@0:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY | capture h1, occurred 400
-> booked
event r1 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse f1, occurred 400
-> pending
tick 401000000
later r1 booked
balance users@0:wallet 3.00 Cr CNY seq 3
"
}
