//! How many records of each lane a window takes.
//!
//! Every lane that has records gets its floor first (so none starves, however full the others are), then the room
//! left is shared by weight among the lanes that have more, and what a lane cannot use goes to the others. A window
//! is always filled when there are records enough.

/// Lanes, highest first.
pub const LANES: usize = 3;

/// How lanes share a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneShares {
    /// Weights, highest lane first; each at least 1.
    pub weights: [u32; LANES],
    /// Records that each lane gets in every window if it has them; at least 1.
    pub floor: usize,
    /// Most records in a window; at least three floors.
    pub window_records: usize,
}

impl Default for LaneShares {
    fn default() -> Self {
        Self { weights: [6, 3, 1], floor: 64, window_records: 8192 }
    }
}

/// Records to take of each lane, given how many each has to offer.
#[must_use]
pub fn share(offered: [usize; LANES], shares: &LaneShares) -> [usize; LANES] {
    let mut taken = offered.map(|records| records.min(shares.floor));
    let mut room = shares.window_records.saturating_sub(taken.iter().sum());
    while room > 0 {
        let more = |lane: usize, taken: &[usize; LANES]| left(offered, taken, lane) > 0;
        let hungry: Vec<usize> = (0..LANES).filter(|lane| more(*lane, &taken)).collect();
        let weight_of = |lane: usize| shares.weights.get(lane).map_or(1, |weight| (*weight).max(1) as usize);
        let weights: usize = hungry.iter().map(|lane| weight_of(*lane)).sum();
        if weights == 0 {
            break;
        }
        let round = room;
        for lane in hungry {
            // Rounded up and highest first, so that a round always takes something.
            let part = (round * weight_of(lane)).div_ceil(weights).min(room).min(left(offered, &taken, lane));
            if let Some(taken) = taken.get_mut(lane) {
                *taken += part;
            }
            room -= part;
        }
    }
    taken
}

fn left(offered: [usize; LANES], taken: &[usize; LANES], lane: usize) -> usize {
    let count = |lanes: &[usize; LANES]| lanes.get(lane).copied().unwrap_or(0);
    count(&offered).saturating_sub(count(taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_are_shared_by_weight_over_a_floor() {
        let shares = LaneShares { weights: [6, 3, 1], floor: 10, window_records: 1030 };
        for (offered, taken) in [
            ([0, 0, 0], [0, 0, 0]),
            ([5, 0, 0], [5, 0, 0]),
            ([500, 400, 100], [500, 400, 100]),
            // Full everywhere: 10 each, then 1000 by 6:3:1.
            ([9000, 9000, 9000], [610, 310, 110]),
            // What a lane has not goes to the others by weight.
            ([0, 9000, 9000], [0, 768, 262]),
            ([9000, 0, 0], [1030, 0, 0]),
            ([0, 0, 9000], [0, 0, 1030]),
            ([9000, 9000, 10], [677, 343, 10]),
            ([100, 9000, 9000], [100, 693, 237]),
        ] {
            assert_eq!(share(offered, &shares), taken, "{offered:?}");
        }
    }

    proptest! {
        #[test]
        fn no_lane_starves_and_no_room_is_wasted(
            offered in prop::array::uniform3(0_usize..5000), weights in prop::array::uniform3(1_u32..20),
            floor in 1_usize..50, room in 0_usize..3000,
        ) {
            let shares = LaneShares { weights, floor, window_records: 3 * floor + room };
            let taken = share(offered, &shares);
            for lane in 0..LANES {
                prop_assert!(taken[lane] <= offered[lane]);
                prop_assert!(taken[lane] >= offered[lane].min(floor), "lane {lane} starves: {taken:?}");
            }
            let total: usize = taken.iter().sum();
            prop_assert_eq!(total, offered.iter().sum::<usize>().min(shares.window_records));
        }

        #[test]
        fn the_high_lane_has_its_share_of_a_full_window(
            others in prop::array::uniform2(0_usize..100_000), weights in prop::array::uniform3(1_u32..20),
            floor in 1_usize..50, room in 100_usize..3000,
        ) {
            let shares = LaneShares { weights, floor, window_records: 3 * floor + room };
            let taken = share([100_000, others[0], others[1]], &shares);
            let sum: usize = weights.iter().map(|w| *w as usize).sum();
            prop_assert!(taken[0] >= floor + room * weights[0] as usize / sum, "{taken:?}");
        }
    }
}
