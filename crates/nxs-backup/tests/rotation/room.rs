//! The article's problem: a storage with room for hardly more than one copy.

use nxs_base::spec::Rotation;

use crate::house::{House, Night, keep};

/// About what record, index, adoption list and guide take.
const REST: u64 = 6_000;
const SIZE: usize = 100_000;

fn night(size: usize) -> Night {
    Night { content: vec![b'x'; size], ..Night::default() }
}

#[test]
fn with_room_for_two_the_new_one_comes_first() {
    let (mut house, storage) = House::in_memory(keep(1, 0, 0));
    storage.set_quota(Some(2 * SIZE as u64 + SIZE as u64 / 5 + REST));
    for at in ["2026-02-03T03:00", "2026-02-04T03:00", "2026-02-05T03:00"] {
        assert!(house.night_of(at, night(SIZE)).is_complete(), "{at}");
    }
    let told = house.night_of("2026-02-06T03:00", Night { fails: true, ..night(SIZE) });
    assert!(!told.is_complete());
    assert_eq!(house.table(), "daily: 05f", "nothing went for the night that failed");
}

#[test]
fn with_room_for_one_the_old_one_goes_first_and_that_is_said() {
    let (mut house, storage) = House::in_memory(keep(1, 0, 0));
    storage.set_quota(Some(SIZE as u64 + SIZE as u64 / 4 + REST));
    assert!(house.night_of("2026-02-03T03:00", night(SIZE)).is_complete());
    let told = house.night_of("2026-02-04T03:00", night(SIZE));
    assert!(told.is_complete(), "{:?}", told.said);
    assert!(told.says("the last complete copy of `site1` goes first"), "{:?}", told.said);
    assert_eq!(house.table(), "daily: 04f");
    let told = house.night_of("2026-02-05T03:00", Night { probe_fails: true, ..night(SIZE) });
    assert!(!told.is_complete());
    assert_eq!(house.table(), "daily: 04f", "not before the rehearsal went well");
}

#[test]
fn only_what_makes_room_goes_first_and_the_oldest_of_it() {
    let (mut house, storage) = House::in_memory(keep(4, 0, 0));
    for day in 3..=6 {
        assert!(house.night_of(&format!("2026-02-0{day}T03:00"), night(SIZE)).is_complete());
    }
    storage.set_quota(Some(storage.used_bytes() + REST));
    house.retention = keep(2, 0, 0);
    let told = house.night_of("2026-02-07T03:00", Night { fails: true, ..night(SIZE) });
    assert!(!told.is_complete());
    assert_eq!(house.table(), "daily: 05f 06f", "two make the room of one and a fifth");
    assert!(!told.says("last complete copy"), "{:?}", told.said);
    assert!(house.night_of("2026-02-08T03:00", night(SIZE)).is_complete());
    assert_eq!(house.table(), "daily: 06f 08f");
}

#[test]
fn what_the_policy_keeps_does_not_go_for_room() {
    let (mut house, storage) = House::in_memory(keep(3, 0, 0));
    assert!(house.night_of("2026-02-03T03:00", night(SIZE)).is_complete());
    storage.set_quota(Some(storage.used_bytes() + REST));
    let told = house.night_of("2026-02-04T03:00", night(SIZE));
    assert!(!told.is_complete() && told.says("hardly room"), "{:?}", told.said);
    assert_eq!(house.table(), "daily: 03f");
    house.check();
}

#[test]
fn a_storage_that_fills_up_in_the_middle_drops_nothing_afterwards() {
    for rotation in [Rotation::Auto, Rotation::After] {
        let (mut house, storage) = House::in_memory(keep(1, 0, 0));
        house.rotation = rotation;
        assert!(house.night_of("2026-02-03T03:00", night(1000)).is_complete());
        storage.set_quota(Some(storage.used_bytes() + REST));
        // Much larger than the ones before let expect.
        let told = house.night_of("2026-02-04T03:00", night(SIZE));
        assert!(!told.is_complete() && told.dropped() == 0);
        assert_eq!(house.table(), "daily: 03f", "{rotation:?}");
        house.check();
    }
}

#[test]
fn the_order_after_never_drops_first_however_short_the_room() {
    let (mut house, storage) = House::in_memory(keep(1, 0, 0));
    house.rotation = Rotation::After;
    assert!(house.night_of("2026-02-03T03:00", night(SIZE)).is_complete());
    storage.set_quota(Some(storage.used_bytes() + REST));
    assert!(!house.night_of("2026-02-04T03:00", night(SIZE)).is_complete());
    assert_eq!(house.table(), "daily: 03f");
}

#[test]
fn the_last_complete_one_stays_before_newer_ones_with_gaps_however_short_the_room() {
    for rotation in [Rotation::Auto, Rotation::Before] {
        let (mut house, storage) = House::in_memory(keep(1, 0, 0));
        assert!(house.night_of("2026-02-03T03:00", night(SIZE)).is_complete());
        house.night_of("2026-02-04T03:00", Night { has_gaps: true, ..night(SIZE) });
        assert_eq!(house.table(), "daily: 03f 04f");
        storage.set_quota(Some(storage.used_bytes() + REST));
        house.rotation = rotation;
        house.night_of("2026-02-05T03:00", Night { fails: true, ..night(SIZE) });
        assert!(house.table().contains("03f"), "{rotation:?}: {}", house.table());
    }
}
