//! Gives and takes ACLs on a broker, as its super user, in Kafka's protocol: `CreateAcls` and `DeleteAcls`, version 1.

use crate::broker::Broker;
use std::io::{Read, Write};
use std::net::TcpStream;
use stream::kafka::acls::{Acl, Operation, Resource};

const CREATE: i16 = 30;
const DELETE: i16 = 31;
const VERSION: i16 = 1;
const ALLOW: u8 = 3;

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend(text.as_bytes());
}

/// An ACL and, in the same form, a filter that meets it alone.
fn body(out: &mut Vec<u8>, user: &str, acl: &Acl) {
    let (kind, pattern) = match acl.resource {
        Resource::Topic => (2, 3),
        Resource::Group => (3, 3),
        Resource::TransactionalIds => (5, 4),
    };
    let operation = match acl.operation {
        Operation::Read => 3,
        Operation::Write => 4,
        Operation::Create => 5,
        Operation::Delete => 6,
        Operation::Describe => 8,
        Operation::DescribeConfigs => 10,
    };
    out.push(kind);
    text(out, &acl.name);
    out.push(pattern);
    text(out, &format!("User:{user}"));
    text(out, "*");
    out.extend([operation, ALLOW]);
}

fn ask(broker: &Broker, api: i16, user: &str, acls: &[Acl]) {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    text(&mut request, "rights");
    request.extend(i32::try_from(acls.len()).unwrap().to_be_bytes());
    acls.iter().for_each(|acl| body(&mut request, user, acl));
    let mut to = TcpStream::connect(broker.bootstrap()).unwrap();
    to.write_all(&i32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    to.write_all(&request).unwrap();
    // Size, correlation id, throttling, number of answers, the first one's error.
    let mut answer = [0; 18];
    to.read_exact(&mut answer).unwrap();
    assert_eq!(answer[12..18], [&i32::try_from(acls.len()).unwrap().to_be_bytes()[..], &[0, 0]].concat());
}

/// Gives a user leave.
///
/// # Panics
/// The broker refuses.
pub fn give(broker: &Broker, user: &str, acls: &[Acl]) {
    ask(broker, CREATE, user, acls);
}

/// Takes leave back that was given.
///
/// # Panics
/// The broker refuses.
pub fn take(broker: &Broker, user: &str, acls: &[Acl]) {
    ask(broker, DELETE, user, acls);
}
