//! What a command costs, and how large a journal record gets. Printed on request:
//! `cargo test --profile fast -p ledgerflow-posting --test it cost -- --ignored --nocapture`

use crate::cluster::{ALL, Cluster, DAY};
use crate::events::{Event, LegWords, Rng, credit, debit, owner};

const PARTITIONS: u32 = 8;
const BATCH: usize = 1_000;

/// Processor time of this thread so far, microseconds (Linux); other processes do not disturb it.
fn cpu_us() -> i64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<i64>().unwrap() / 1_000
}

fn event(id: String, legs: Vec<LegWords>) -> Event {
    let subject = owner(&legs[0].account).to_owned();
    Event { id, subject, body: String::new(), legs, date: DAY, back_dated: false, ingest: 0 }
}

/// Sends one batch of transfers to every partition and returns their number.
fn send(cluster: &mut Cluster, rng: &mut Rng, round: u64, accounts: u64) -> usize {
    let (mut full, mut sent) = ([0_usize; PARTITIONS as usize], 0);
    while full.iter().any(|count| *count < BATCH) {
        let payer = format!("users:{}:credit", rng.below(accounts));
        let home = cluster.map.partition_of(owner(&payer)) as usize;
        if full[home] < BATCH {
            full[home] += 1;
            let payee = format!("users:{}:credit", rng.below(accounts));
            cluster.send(&event(
                format!("{round}-{sent}"),
                vec![debit(payer, 1, "CNY"), credit(payee, 1, "CNY")],
            ));
            sent += 1;
        }
    }
    cluster.flush(0);
    sent
}

/// Commands per second through decode, decide, seal and apply, transfers between 100,000 accounts on 8 partitions.
#[test]
#[ignore = "a measurement, not a check"]
fn commands_per_second() {
    let (mut rng, mut cluster) = (Rng(1), Cluster::new(PARTITIONS, 1));
    let (mut commands, mut deciding_us, mut applying_us, mut journal_bytes) = (0, 0, 0, 0);
    for round in 0..25 {
        let sent = send(&mut cluster, &mut rng, round, 100_000);
        let warm = round >= 5;
        for slot in (0..PARTITIONS).chain(0..PARTITIONS) {
            let start = cpu_us();
            let decision = cluster.decide(slot, ALL).unwrap();
            let decided = cpu_us();
            let Some(decision) = decision else { continue };
            let bytes: usize = decision.records.iter().map(|record| record.value.len()).sum();
            let written = cpu_us();
            cluster.commit(slot, decision);
            if warm {
                deciding_us += decided - start;
                applying_us += cpu_us() - written;
                journal_bytes += bytes;
            }
        }
        cluster.commands.iter().chain(&cluster.credits).for_each(|log| assert!(log.0.len() < 1_000));
        commands += if warm { sent } else { 0 };
    }
    let per = |us: i64| us * 1_000 / commands as i64;
    println!(
        "{commands} commands: {} per second on one core; {} ns decide, {} ns apply, {} bytes written a command",
        commands as i64 * 1_000_000 / (deciding_us + applying_us),
        per(deciding_us),
        per(applying_us),
        journal_bytes / commands
    );
}

/// How many bytes of journal one full commands record may give.
#[test]
#[ignore = "a measurement, not a check"]
fn journal_bytes_of_a_full_commands_record() {
    let shapes: [(&str, usize, i128); 3] =
        [("2 legs", 1, 1), ("64 legs of 1", 32, 1), ("64 legs of 2^90", 32, 1 << 90)];
    for (shape, pairs, amount) in shapes {
        let mut cluster = Cluster::new(1, 1);
        let mut bytes = 0;
        for n in 0.. {
            let pair = [debit("bank:a", amount, "CNY"), credit("fees:a", amount, "CNY")];
            let legs = std::iter::repeat_n(pair, pairs).flatten().collect();
            let event = event(format!("e{n}"), legs);
            bytes += prost::Message::encoded_len(&event.command()) + 8;
            if bytes > schemas::batch::BODY_BYTES_MAX {
                break;
            }
            cluster.send(&event);
        }
        cluster.flush(0);
        cluster.run().unwrap();
        let (read, written) = (cluster.commands[0].0[0].value.len(), cluster.journal[0].0[0].value.len());
        println!("{shape}: a commands record of {read} bytes gives a journal record of {written}");
    }
}
