use super::*;
use schemas::balance_json::NormalSide::{self, Credit, Debit};
use schemas::basis::{AssetBasis, FORMAT};
use schemas::chart::Chart;

fn basis(assets: &[(&str, u8)], accounts: &[(&str, NormalSide)]) -> Basis {
    let accounts = accounts.iter().map(|(pattern, normal)| AccountBasis {
        pattern: (*pattern).into(),
        normal: *normal,
        shard_segments: 2,
    });
    Basis {
        format: FORMAT,
        book: "main".into(),
        time_zone: "Asia/Shanghai".into(),
        cut_off: "00:00".into(),
        assets: assets
            .iter()
            .map(|(asset, exponent)| AssetBasis { asset: (*asset).into(), exponent: *exponent })
            .collect(),
        accounts: accounts.collect(),
    }
}

const ASSETS: [(&str, u8); 2] = [("CNY", 2), ("JPY", 0)];
const ACCOUNTS: [(&str, NormalSide); 3] =
    [("users:*:wallet", Credit), ("users:*:**", Debit), ("bank:**", Debit)];

fn held() -> Basis {
    basis(&ASSETS, &ACCOUNTS)
}

/// What is changed, and what the refusal says: the setting, its value in the books, its value now, what to do.
#[test]
fn every_change_is_refused_by_setting_and_both_values() {
    type Row = (fn(&mut Basis), &'static str);
    let rows: [Row; 10] = [
        (|now| now.book = "other".into(), "book.name: these books were opened with main, now it is other. "),
        (
            |now| now.time_zone = "UTC".into(),
            "book.time_zone: these books were opened with Asia/Shanghai, now it is UTC. ",
        ),
        (
            |now| now.cut_off = "05:30".into(),
            "book.cut_off: these books were opened with 00:00, now it is 05:30. ",
        ),
        (
            |now| now.assets[0].exponent = 3,
            "assets.CNY.exponent: these books were opened with 2, now it is 3. Every amount in the books would be read as \
             another one. Set it back to 2, or make new books with 3",
        ),
        (
            |now| drop(now.assets.remove(1)),
            "assets.JPY: these books were opened with it, now it is not there. Amounts in it could not be read. Put it \
             back: JPY: { exponent: 0 }",
        ),
        (
            |now| now.accounts[0].normal = Debit,
            "pattern \"users:*:wallet\": normal: these books were opened with credit, now it is debit. ",
        ),
        (
            |now| now.accounts[2].shard_segments = 3,
            "pattern \"bank:**\": shard_segments: these books were opened with 2, now it is 3. ",
        ),
        (
            |now| drop(now.accounts.remove(2)),
            "Put it back: { pattern: \"bank:**\", normal: debit, shard_segments: 2 }",
        ),
        (
            |now| now.accounts.swap(0, 1),
            "pattern \"users:*:**\" (normal: debit, shard_segments: 2) comes before pattern \"users:*:wallet\", with which \
             these books were opened (normal: credit, shard_segments: 2), and takes accounts from it",
        ),
        (
            |now| {
                let gold = AccountBasis { pattern: "bank:gold:*".into(), normal: Credit, shard_segments: 2 };
                now.accounts.insert(1, gold);
            },
            "pattern \"bank:gold:*\" (normal: credit, shard_segments: 2) comes before pattern \"bank:**\"",
        ),
    ];
    for (change, said) in rows {
        let mut now = held();
        change(&mut now);
        let why = keeps(&held(), &now).expect_err(said);
        assert!(why.to_string().contains(said), "{why}");
        assert_eq!(why.is_of_chart(), !said.starts_with("book."), "{why}");
        // Whoever writes it all the same is not heard.
        assert_eq!(in_force([held(), now]), Some(held()));
    }
}

#[test]
fn what_is_new_may_be_added() {
    let added: [fn(&mut Basis); 6] = [
        |now| now.assets.insert(0, AssetBasis { asset: "BTC".into(), exponent: 8 }),
        // Accounts that nobody had.
        |now| {
            now.accounts
                .insert(0, AccountBasis { pattern: "fees:*".into(), normal: Debit, shard_segments: 3 })
        },
        // Accounts of an old pattern, kept as before.
        |now| {
            let gold = AccountBasis { pattern: "bank:gold:*".into(), normal: Debit, shard_segments: 2 };
            now.accounts.insert(0, gold);
        },
        // It overlaps, and every account that both match stays with the old one.
        |now| now.accounts.push(AccountBasis { pattern: "bank:*".into(), normal: Credit, shard_segments: 2 }),
        |now| {
            now.accounts.push(AccountBasis {
                pattern: "users:1:**".into(),
                normal: Credit,
                shard_segments: 2,
            })
        },
        // Another order of what does not overlap.
        |now| now.accounts.rotate_right(1),
    ];
    for add in added {
        let mut now = held();
        add(&mut now);
        assert_eq!(keeps(&held(), &now), Ok(()));
        assert_eq!(in_force([held(), now.clone()]), Some(now));
    }
}

#[test]
fn of_two_who_write_at_once_the_first_has_its_way_whole() {
    let [mut zone, mut pound, mut bitcoin] = [held(), held(), held()];
    zone.time_zone = "UTC".into();
    zone.assets.push(AssetBasis { asset: "XAU".into(), exponent: 4 });
    pound.assets.push(AssetBasis { asset: "GBP".into(), exponent: 2 });
    bitcoin.assets.push(AssetBasis { asset: "BTC".into(), exponent: 8 });
    assert_eq!(in_force([]), None);
    // Nothing of a record that is not heard binds anybody: not its asset either.
    assert_eq!(in_force([held(), zone.clone(), held()]), Some(held()));
    assert_eq!(in_force([zone.clone(), held()]), Some(zone));
    // Two additions: the second does not know the first.
    assert_eq!(in_force([held(), pound.clone(), bitcoin.clone()]), Some(pound.clone()));
    assert_eq!(in_force([held(), bitcoin.clone(), pound.clone()]), Some(bitcoin.clone()));
    let mut both = pound.clone();
    both.assets.extend(bitcoin.assets.last().cloned());
    assert_eq!(in_force([held(), pound.clone(), both.clone(), pound]), Some(both));
}

/// Every chart of up to three of these patterns, in every order, on either side.
fn charts() -> Vec<Vec<(&'static str, NormalSide)>> {
    const PATTERNS: [&str; 5] = ["a", "a:*", "a:b", "*:b", "a:**"];
    let mut all = vec![Vec::new()];
    let mut longest: Vec<Vec<(&str, NormalSide)>> = all.clone();
    for _ in 0..3 {
        let longer = longest.iter().flat_map(|chart| {
            let unused = PATTERNS.into_iter().filter(|pattern| chart.iter().all(|(used, _)| used != pattern));
            let either = unused.flat_map(|pattern| [(pattern, Debit), (pattern, Credit)]);
            either.map(|more| [&chart[..], &[more]].concat())
        });
        longest = longer.collect();
        all.extend(longest.iter().cloned());
    }
    all.remove(0);
    all
}

/// Whatever is allowed, every account that was known is kept on its side by the chart itself.
#[test]
fn no_change_that_is_allowed_turns_an_account() {
    const KNOWN: [&str; 8] = ["a", "b", "a:a", "a:b", "b:b", "b:a", "a:a:a", "a:b:b"];
    let sides = |chart: &[(&str, NormalSide)]| {
        let rows: Vec<String> = chart
            .iter()
            .map(|(pattern, normal)| format!("{{pattern: \"{pattern}\", normal: {}}}", normal.name()))
            .collect();
        let text = format!("version: 1\nassets: {{}}\naccounts: [{}]\n", rows.join(", "));
        let chart = Chart::parse(&text).unwrap();
        KNOWN.map(|account| chart.resolve(account).map(|class| class.normal))
    };
    let charts: Vec<_> = charts().iter().map(|chart| (basis(&ASSETS, chart), sides(chart))).collect();
    let mut allowed = 0;
    for (held, before) in &charts {
        for (now, after) in &charts {
            if held == now || keeps(held, now).is_err() {
                continue;
            }
            allowed += 1;
            let turned = before.iter().zip(after).any(|(before, after)| before.is_some() && before != after);
            assert!(!turned, "{:?} {:?}", held.accounts, now.accounts);
        }
    }
    assert!(allowed > 1_000, "{allowed}");
}
