//! What a refusal says, in words. Figures are on the account's normal side, with the asset's decimals. The words are
//! explained in [`crate::script`].

use crate::script::cases;

cases! {
legs_that_are_wrong: "
event e1 users@0 |
-> refused no_legs
says the command has no leg
event e2 users@0 | debit users@0:wallet 0.00 CNY ; credit bank@0:main 0.00 CNY
-> refused bad_amount
says users@0:wallet 0
event e3 users@0 | debit users@0:wallet 1.00 EUR ; credit bank@0:main 1.00 EUR
-> refused unknown_asset
says EUR
event e4 users@0 | debit users@0:savings 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused unknown_account
says users@0:savings CNY
event e5 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 0.98 CNY
-> refused unbalanced
says CNY by 2
event e6 bank@0 | debit bank@0:main max CNY ; debit bank@0:main 0.01 CNY ; credit fees@0:card 1.00 CNY
-> refused overflow
says the sum of its legs in CNY is beyond any amount
event e7 users@0 | debit bank@0:main 1.00 CNY ; credit fees@0:card 1.00 CNY | times 33
-> refused too_many_legs
says 66 legs
event e8 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | body x
-> refused insufficient_funds retryable
event e8 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | body y
-> refused conflict
says this source and id were used before with another body
"

limits_that_are_met: "
event e1 users@0 | debit users@0:wallet 5.00 CNY ; credit bank@0:main 5.00 CNY
-> refused insufficient_funds retryable
says users@0:wallet would stand at -5.00 CNY, its limit is 0.00
event e2 users@0 | debit users@0:wallet 5 JPY ; credit bank@0:main 5 JPY
-> refused insufficient_funds retryable
says users@0:wallet would stand at -5 JPY, its limit is 0
event e3 purses@0 | debit bank@0:main 50.01 CNY ; credit purses@0:cash 50.01 CNY
-> refused balance_too_high retryable
says purses@0:cash would stand at 50.01 CNY, its limit is 50.00
event e4 depots@0 | credit depots@0:stock 3.00 CNY ; debit bank@0:main 3.00 CNY
-> refused insufficient_funds retryable
says depots@0:stock would stand at -3.00 CNY, its limit is 2.00
event e5 depots@0 | debit depots@0:stock 90.01 CNY ; credit bank@0:main 90.01 CNY
-> refused balance_too_high retryable
says depots@0:stock would stand at 90.01 CNY, its limit is 90.00
event h1 users@0 | debit users@0:credit 30.00 CNY | hold 0
-> booked
event e6 users@0 | debit users@0:credit 70.01 CNY ; credit bank@0:main 70.01 CNY
-> refused insufficient_funds retryable
says users@0:credit would stand at -70.01 CNY with 30.00 on hold, its limit is -100.00
event h2 users@0 | debit users@0:credit 70.01 CNY | hold 0
-> refused insufficient_funds retryable
says users@0:credit would stand at -70.01 CNY with 30.00 on hold, its limit is -100.00
event h3 bank@0 | debit bank@0:main max JPY | hold 0
-> refused overflow
says what would be on hold of bank@0:main in JPY
"

limits_that_are_changed: "
event l1 users@0 | | limit users@0:wallet EUR least 0.00
-> refused unknown_asset
says EUR
event l2 merchants@0 | | limit merchants@0:reserve USD least 0.00
-> refused unknown_account
says merchants@0:reserve USD
event l3 users@0 | | limit users@0:wallet CNY most 20.00
-> refused limit_not_in_chart
says the chart gives users@0:wallet no maximum in CNY
event l4 merchants@0 | | limit merchants@0:payable CNY least 0.00
-> refused limit_not_in_chart
says the chart gives merchants@0:payable no overdraft or minimum in CNY
event l5 purses@0 | | limit purses@0:cash CNY least 10.00 most 5.00
-> refused limits_contradict retryable
says purses@0:cash could hold nothing between 5.00 and 10.00 CNY
event l6 depots@0 | | limit depots@0:stock JPY least 9 most 5
-> refused limits_contradict retryable
says depots@0:stock could hold nothing between 9 and 5 JPY
event c1 users@0 | | close users@0:wallet
-> booked
event l7 users@0 | | limit users@0:wallet CNY least -1.00
-> refused account_closed
says users@0:wallet
"

velocities_that_are_met: "
tick 1000000
event e1 cards@0 | debit cards@0:main 40.01 CNY ; credit bank@0:main 40.01 CNY
-> refused velocity_exceeded retryable
says cards@0:main would be moved by 40.01 CNY in 1 legs within 16 s, at most 40.00 CNY and 4 times
event e2 cards@0 | debit cards@0:main 31 JPY ; credit bank@0:main 31 JPY
-> refused velocity_exceeded retryable
says cards@0:main would be moved by 31 JPY in 1 legs within 1 s, at most 30 JPY
event e3 cards@0 | debit bank@0:main 6.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY
-> refused velocity_exceeded retryable
says cards@0:main would be moved by 6.00 CNY in 6 legs within 80 s, at most 5 times
event h1 cards@0 | debit cards@0:main 10.00 CNY | hold 0
-> booked
event h2 cards@0 | debit cards@0:main 20.01 CNY | hold 0
-> refused velocity_exceeded retryable
says cards@0:main would be moved by 30.01 CNY in 2 legs within 1 s, at most 30.00 CNY
"

the_first_account_that_is_too_fast_is_named: "
tick 1000000
event e1 cards@0 | debit cards@0:main 31.00 CNY ; debit cards@0b:main 1.00 CNY ; credit bank@0:main 32.00 CNY
-> refused velocity_exceeded retryable
says cards@0:main would be moved by 31.00 CNY in 1 legs within 1 s, at most 30.00 CNY
event e2 cards@0 | debit cards@0:main 31.00 CNY ; debit cards@0b:main 32.00 CNY ; credit bank@0:main 63.00 CNY
-> refused velocity_exceeded retryable
says cards@0:main would be moved by 31.00 CNY in 1 legs within 1 s, at most 30.00 CNY
event e3 cards@0 | debit cards@0:main 31.00 CNY ; credit purses@0:cash 51.00 CNY ; debit bank@0:main 20.00 CNY
-> refused balance_too_high retryable
says purses@0:cash would stand at 51.00 CNY, its limit is 50.00
event e4 cards@0 | credit purses@0:cash 51.00 CNY ; credit purses@0b:cash 52.00 CNY ; debit bank@0:main 103.00 CNY
-> refused balance_too_high retryable
says purses@0:cash would stand at 51.00 CNY, its limit is 50.00
"

holds_that_are_not_there: "
event h1 users@0 | debit users@0:credit 10.00 CNY | hold 0
-> booked
event c1 users@0 | debit users@0:credit 1.00 CNY ; credit bank@0:main 1.00 CNY | capture h9
-> refused unknown_hold retryable
says shop h9
event c2 users@0 | debit bank@0:main 1.00 CNY ; credit users@0:credit 1.00 CNY | capture h1
-> refused hold_mismatch
says it takes nothing from users@0:credit in CNY
event c3 users@0 | debit users@0:credit 1.00 CNY ; debit users@0:wallet 1.00 CNY ; credit bank@0:main 2.00 CNY | capture h1
-> refused hold_mismatch
says users@0:wallet is limited too
event c4 users@0 | debit users@0:credit 10.01 CNY ; credit bank@0:main 10.01 CNY | capture h1
-> refused exceeds_hold
says 10.00 CNY is left on hold
event r1 users@0 | | release h1
-> booked
event r2 users@0 | | release h1
-> refused hold_not_open
says shop h1
"

as_much_as_there_is_is_nothing: "
event e1 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | at_most debit
-> refused insufficient_funds retryable
says users@0:wallet has no CNY available
event e2 users@0 | debit users@0:wallet 1.00 CNY ; credit purses@0:cash 1.00 CNY | at_most debit
-> refused at_most_mismatch
says purses@0:cash may refuse it too
event e3 users@0 | debit users@0:wallet 2.00 CNY ; credit bank@0:main 1.00 CNY ; credit fees@0:card 1.00 CNY | at_most debit
-> refused at_most_mismatch
says 3 legs, expected one debit and one credit
"

answers_that_do_not_come: "
partitions 3
tick 1
pause 1
pause 2
event e1 orders@0 | debit users@1:credit 1.00 CNY ; credit purses@2:cash 1.00 CNY
-> pending
tick 10000001
later e1 refused timed_out retryable
says no answer of partition 1, 2
"
}
