//! The close of a day (ARCHITECTURE rule 7) as ledger cases: dates, markers, counts, alignment.

use crate::script::cases;

cases! {
a_day_closes_in_one_partition: "
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
-> booked
dated e1 100
marker 0 100
aligned 100 0
event e2 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | date 101
-> booked
dated e2 101
open 101 0
marker 0 101
aligned 101 0
"

a_day_closes_when_every_partition_has_every_marker: "
partitions 3
ingest 2
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@1:wallet 5.00 CNY | ingest 0
-> booked
event e2 users@2 | debit bank@0:main 5.00 CNY ; credit users@1:wallet 5.00 CNY | ingest 1
-> booked
marker 0 100
open 100 0 1 2
pause 2
marker 1 100
open 100 0 1
resume 2
aligned 100 0 1 2
"

a_missing_ingest_slot_blocks_the_close_and_not_the_posting: "
partitions 2
ingest 2
marker 0 100
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY | ingest 1
-> booked
dated e1 100
event e2 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY | ingest 0, date 101
-> booked
dated e2 101
open 100 0 1
marker 1 100
aligned 100 0 1
"

back_dated_events_enter_a_marked_day_uncounted: "
partitions 2
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
pause 1
marker 0 100
event e2 users@0 | debit bank@0:main 3.00 CNY ; credit merchants@1:payable 3.00 CNY | back_dated
-> booked
dated e2 100
resume 1
aligned 100 0 1
event e3 users@0 | debit bank@0:main 2.00 CNY ; credit merchants@1:payable 2.00 CNY | back_dated
-> booked
dated e3 100
balance merchants@1:payable 10.00 Cr CNY seq 3
"

a_forward_read_after_the_own_marker_is_carried: "
partitions 2
event e0 users@1 | debit bank@1:main 9.00 CNY ; credit users@1:wallet 9.00 CNY
-> booked
pause 1
event e1 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
event e2 merchants@0 | debit users@1:wallet 2.00 CNY ; credit merchants@0:payable 2.00 CNY
pause 0
marker 0 100 to 1
resume 1
resume 0
later e1 booked by p1
dated e1 101 carried from 100
dated e2 101 carried from 100
marker 0 100 to 0
aligned 100 0 1
marker 0 101
aligned 101 0 1
"

a_forward_read_before_the_own_marker_keeps_its_date: "
partitions 2
event e0 users@1 | debit bank@1:main 9.00 CNY ; credit users@1:wallet 9.00 CNY
-> booked
event e1 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY
-> booked by p1
marker 0 100
dated e1 100
aligned 100 0 1
"

a_back_dated_forward_is_not_carried: "
partitions 2
event e0 users@1 | debit bank@1:main 9.00 CNY ; credit users@1:wallet 9.00 CNY
-> booked
marker 0 100
aligned 100 0 1
event e1 merchants@0 | debit users@1:wallet 5.00 CNY ; credit merchants@0:payable 5.00 CNY | back_dated
-> booked by p1
dated e1 100
"

refused_and_repeated_events_count_in_the_marker: "
event e1 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> refused insufficient_funds retryable
event e1 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> duplicate of refused insufficient_funds retryable
event e2 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 4.00 CNY
-> refused unbalanced
marker 0 100
aligned 100 0
"

a_marker_with_a_wrong_count_stops_the_slot: "
partitions 2
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit merchants@1:payable 5.00 CNY
-> booked
marker 0 100 to 0 one more
stops 0 slot 0 stopped at commands/0@2: ingest slot 0: marker of day 100 states 2 items
"

a_command_after_its_slots_marker_stops_the_slot: "
ingest 2
marker 0 100
open 100 0
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | ingest 0
stops 0 slot 0 stopped at commands/0@2: ingest slot 0 sent a command dated 100 after its marker
"

a_command_dated_before_its_slots_marker_stops_the_slot: "
ingest 2
marker 0 100
open 100 0
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY | ingest 0, date 99
stops 0 slot 0 stopped at commands/0@2: ingest slot 0 sent a command dated 99 after its marker
"

a_command_of_an_aligned_day_stops_the_slot: "
marker 0 100
aligned 100 0
event e1 users@0 | debit bank@0:main 5.00 CNY ; credit users@0:wallet 5.00 CNY
stops 0 ingest slot 0 sent a command dated 100 after its marker
"

a_second_marker_of_a_day_stops_the_slot: "
ingest 2
marker 0 100
open 100 0
marker 0 100
stops 0 slot 0 stopped at commands/0@2: ingest slot 0: second marker of day 100
"

a_marker_of_an_aligned_day_stops_the_slot: "
partitions 2
marker 0 100
aligned 100 0 1
marker 0 100 to 1
stops 1 ingest slot 0: second marker of day 100
"
}
