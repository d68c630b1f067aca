use super::*;

const PERCENT: Settings = Settings { slower_percent: 20 };

fn others(yielding: usize, held_back: bool) -> Took {
    Took { yielding, held_back, others: true }
}

/// One that has learned in two seconds that 5 ms are usual, and the time then.
fn learned() -> (Throttle, i64) {
    let throttle = Throttle::new(PERCENT);
    let looks = (0..=400).map(|look| look * 5_000);
    looks.for_each(|now_us| throttle.observe(now_us, 5_000));
    (throttle, 2_000_000)
}

#[test]
fn without_others_there_is_no_bound() {
    let throttle = Throttle::new(PERCENT);
    assert_eq!(throttle.allowance(0), None);
    throttle.took(0, others(0, false));
    assert_eq!(throttle.allowance(999_999), Some(20));
    assert_eq!(throttle.allowance(1_000_000), None);
}

#[test]
fn tokens_follow_the_rate_and_do_not_pile_up() {
    let throttle = Throttle::new(PERCENT);
    throttle.took(0, others(0, false));
    // 1,000 a second: 20 in the 20 ms that are kept, however long nobody asked.
    assert_eq!(throttle.allowance(0), Some(20));
    assert_eq!(throttle.allowance(900_000), Some(20));
    throttle.took(900_000, others(20, true));
    assert_eq!(throttle.allowance(900_000), Some(0));
    assert_eq!(throttle.allowance(903_000), Some(3));
    // What was taken beyond it is owed, as far as 20 ms go.
    throttle.took(903_000, others(1_000_000, true));
    assert_eq!(throttle.allowance(922_000), Some(0));
    assert_eq!(throttle.allowance(925_000), Some(2));
}

#[test]
fn nothing_rises_before_it_is_known_what_is_usual() {
    let throttle = Throttle::new(PERCENT);
    throttle.took(0, others(3_000, true));
    for look in 0..200 {
        throttle.observe(look * 5_000, 0);
    }
    let reading = throttle.reading();
    assert_eq!(reading, Reading { per_s: LEAST_PER_S, behind_us: Some(0), usual_us: None });
}

#[test]
fn the_rate_rises_only_while_records_are_held_back() {
    let (throttle, mut now) = learned();
    assert_eq!(throttle.reading(), Reading { per_s: 1_000, behind_us: Some(5_000), usual_us: Some(5_000) });
    throttle.took(now, others(5, true));
    throttle.observe(now, 5_000);
    assert_eq!(throttle.reading().per_s, 1_063);
    // It rests, and nothing was held back since.
    now += 50_000;
    throttle.took(now, others(5, true));
    throttle.observe(now, 5_000);
    assert_eq!(throttle.reading().per_s, 1_063);
    throttle.observe(now + 50_000, 5_000);
    throttle.observe(now + 150_000, 5_000);
    assert_eq!(throttle.reading().per_s, 1_130);
    for _ in 0..2_000 {
        now += 100_000;
        throttle.took(now, others(5, true));
        throttle.observe(now, 5_000);
    }
    assert_eq!(throttle.reading().per_s, MOST_PER_S);
}

#[test]
fn the_rate_falls_while_those_behind_are_late_and_rises_slowly_where_it_was_too_high() {
    let (throttle, mut now) = learned();
    let mut look = |behind_us: i64, times: usize| {
        for _ in 0..times {
            now += 100_000;
            throttle.took(now, others(5_000, true));
            throttle.observe(now, behind_us);
        }
        throttle.reading().per_s
    };
    let high = look(5_000, 80);
    assert!(high > 100_000, "{high}");
    // Within a fifth and a millisecond nothing falls; the smoothed time needs some looks.
    assert!(look(6_500, 200) > high);
    let high = look(5_000, 1);
    let cut = look(9_000, 40);
    assert!(cut < high / 4, "{cut} of {high}");
    assert_eq!(look(9_000, 200), LEAST_PER_S);
    // Fast to 10,000 a second, then a 64th at a time.
    look(5_000, 40);
    let (rate, more) = (look(5_000, 20), look(5_000, 1));
    assert!(rate > 10_000 && more - rate == rate.div_ceil(64), "{rate} {more}");
}

#[test]
fn a_jam_stops_it_at_once_and_no_longer_than_it_lasts() {
    let (throttle, now) = learned();
    throttle.took(now, others(0, false));
    throttle.observe(now, 31_000);
    assert_eq!(throttle.allowance(now), Some(0));
    throttle.observe(now + 5_000, 29_000);
    assert_eq!(throttle.allowance(now + 5_000), Some(20));
}
