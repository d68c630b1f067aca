//! What is said of accounts. The words are explained in [`crate::script`].

use crate::script::cases;

cases! {
keys_are_set_and_removed: "
event m1 users@0 | | describe users@0:wallet tier=gold opened_by=branch
-> booked
metadata users@0:wallet opened_by=branch tier=gold
event m2 users@0 | | describe users@0:wallet tier=silver opened_by=- nothing=-
-> booked
metadata users@0:wallet tier=silver
event m3 users@0 | | describe users@0:wallet tier=-
-> booked
metadata users@0:wallet
event m1 users@0 | | describe users@0:wallet tier=gold opened_by=branch
-> duplicate of booked
metadata users@0:wallet
event m3 users@0 | | describe users@0:wallet tier=-, body other
-> refused conflict
"

an_account_is_opened_with_what_is_said_of_it: "
partitions 2
event o1 orders@0 | | open_as vault@1:gold keeper=anna
-> booked by p1
metadata vault@1:gold keeper=anna
event e1 orders@0 | debit vault@1:gold 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked by p1
event m1 orders@0 | | describe vault@1:gold keeper=bert
-> booked by p1
metadata vault@1:gold keeper=bert
event o2 orders@0 | | open_as vault@1:gold
-> booked by p1
metadata vault@1:gold keeper=bert
"

no_more_keys_than_there_may_be: "
event m1 users@0 | | describe users@0:wallet a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1 j=1 k=1 l=1 m=1 n=1 o=1 p=1
-> booked
event m2 users@0 | | describe users@0:wallet q=1
-> refused too_much_metadata retryable
event m3 users@0 | | describe users@0:wallet a=- q=1
-> booked
event m4 users@0 | | describe users@0:wallet b=2 c=2
-> booked
event o1 users@0 | | open_as users@0:wallet z=1
-> refused too_much_metadata retryable
metadata users@0:wallet b=2 c=2 d=1 e=1 f=1 g=1 h=1 i=1 j=1 k=1 l=1 m=1 n=1 o=1 p=1 q=1
event m5 users@0 | | describe users@0b:wallet long=*257
-> refused too_much_metadata retryable
event m6 users@0 | | describe users@0b:wallet long=*256
-> booked
"

a_closed_account_is_not_described: "
event m1 users@0 | | describe users@0:wallet tier=gold
-> booked
event c1 users@0 | | close users@0:wallet
-> booked
event m2 users@0 | | describe users@0:wallet tier=silver
-> refused account_closed
event o1 users@0 | | open_as users@0:wallet reopened=yes
-> booked
metadata users@0:wallet reopened=yes tier=gold
event m3 users@0 | | describe users@0:wallet tier=silver
-> booked
metadata users@0:wallet reopened=yes tier=silver
"

what_cannot_be_described: "
event m1 users@0 | | describe users@0:savings tier=gold
-> refused unknown_account
event m2 users@0 | | open_as users@0:savings tier=gold
-> refused unknown_account
event m3 users@0 | debit users@0:wallet 1.00 CNY | describe users@0:wallet tier=gold
-> refused too_many_legs
metadata users@0:wallet
"

said_of_an_account_elsewhere_in_one_window: "
partitions 2
pause 1
event m1 orders@0 | | describe merchants@1:payable a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1 j=1 k=1 l=1 m=1 n=1 o=1
-> pending
event m2 orders@0 | | describe merchants@1:payable p=1 q=1
-> pending
event m3 orders@0 | | describe merchants@1:payable a=- b=- p=2
-> pending
resume 1
later m1 booked by p1
later m2 refused too_much_metadata retryable by p1
later m3 booked by p1
metadata merchants@1:payable c=1 d=1 e=1 f=1 g=1 h=1 i=1 j=1 k=1 l=1 m=1 n=1 o=1 p=2
"
}
