//! Power cuts: what is done to files is written down ([`recorded`]), and of that every state is made that a disk may be in
//! when the machine dies ([`crash_states`]).

pub(crate) mod crash_states;
pub(crate) mod recorded;

use self::crash_states::{Budget, Disk, Explored, explore};
use self::recorded::Recorder;
use super::{FileWriter, Files, Opening, make_directories, replace, write_all_at};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// A directory in memory, where there is one: none of this is meant to reach a disk.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// All states of what `act` does below a directory, as the texts of the files there (`-` = none), sorted.
fn states(names: &[&str], act: impl FnOnce(&Arc<dyn Files>, &Path)) -> (BTreeSet<Vec<String>>, Explored) {
    let top = scratch();
    let recorder = Recorder::new(top.path(), &[], None);
    let files: Arc<dyn Files> = Arc::clone(&recorder) as Arc<dyn Files>;
    act(&files, top.path());
    let (events, acknowledged) = recorder.history();
    let mut found = BTreeSet::new();
    let budget = Budget { states_a_cut: usize::MAX, seed: 0 };
    let explored = explore(&Disk::default(), (&events, acknowledged), budget, |state, _| {
        let top = scratch();
        state.make(top.path());
        let text = |name: &&str| fs::read(top.path().join(name)).map_or("-".to_owned(), shown);
        found.insert(names.iter().map(text).collect());
        Ok(())
    });
    (found, explored.unwrap())
}

/// A text with a sign for each of its runs of one byte: `a512 0100`.
fn shown(bytes: Vec<u8>) -> String {
    let runs = bytes.chunk_by(|a, b| a == b);
    let sign = |byte: u8| if byte == 0 { '0' } else { char::from(byte) };
    runs.map(|run| format!("{}{}", sign(run[0]), run.len())).collect::<Vec<_>>().join(" ")
}

fn set(states: &[&[&str]]) -> BTreeSet<Vec<String>> {
    states.iter().map(|state| state.iter().map(|text| (*text).to_owned()).collect()).collect()
}

#[test]
fn a_file_that_is_replaced_with_its_syncs_is_the_old_one_or_the_new_one() {
    let (found, _) = states(&["meta"], |files, top| {
        replace(files.as_ref(), &top.join("meta"), b"aa").unwrap();
        replace(files.as_ref(), &top.join("meta"), b"bbb").unwrap();
    });
    assert_eq!(found, set(&[&["-"], &["a2"], &["b3"]]));
}

#[test]
fn a_rename_without_the_sync_before_it_may_show_a_file_that_is_empty_or_zeros() {
    let (found, explored) = states(&["meta"], |files, top| {
        let file = files.open(&top.join("meta.new"), Opening::New).unwrap();
        write_all_at(files.as_ref(), &file, b"aa", 0).unwrap();
        files.rename(&top.join("meta.new"), &top.join("meta")).unwrap();
        files.sync_directory(top).unwrap();
    });
    assert_eq!(found, set(&[&["-"], &[""], &["02"], &["a2"]]));
    assert!(explored.kinds.zeros > 0 && explored.kinds.missing_names > 0);
}

#[test]
fn what_is_not_synced_is_torn_at_sectors_and_has_holes_and_what_is_synced_has_not() {
    let (found, explored) = states(&["log"], |files, top| {
        let mut log = FileWriter::create(files, &top.join("log")).unwrap();
        files.sync_directory(top).unwrap();
        log.write_all(&[b'a'; 500]).unwrap();
        log.sync().unwrap();
        log.write_all(&[b'b'; 600]).unwrap();
        log.write_all(&[b'c'; 10]).unwrap();
    });
    let begun: BTreeSet<Vec<String>> = found.into_iter().filter(|text| text[0].starts_with("a500")).collect();
    let due: [&[&str]; 14] = [
        &["a500"],
        &["a500 b600"],
        &["a500 b600 c10"],
        &["a500 b12"],
        &["a500 b12 0588"],
        &["a500 012 b588"],
        &["a500 b524"],
        &["a500 b524 076"],
        &["a500 0524 b76"],
        &["a500 0600"],
        &["a500 b600 010"],
        &["a500 0600 c10"],
        &["a500 0610"],
        &["a500 b600"],
    ];
    assert_eq!(begun, set(&due));
    assert!(explored.kinds.torn > 0 && explored.kinds.holes > 0 && explored.kinds.zeros > 0);
}

#[test]
fn names_come_and_go_in_any_order_until_their_directory_is_synced() {
    let made = |synced: bool| {
        move |files: &Arc<dyn Files>, top: &Path| {
            for name in ["a", "b"] {
                let mut file = FileWriter::create(files, &top.join(name)).unwrap();
                file.write_all(name.as_bytes()).unwrap();
                file.sync().unwrap();
                if synced {
                    files.sync_directory(top).unwrap();
                }
            }
            files.sync_directory(top).unwrap();
            files.remove(&top.join("a")).unwrap();
        }
    };
    let (found, explored) = states(&["a", "b"], made(false));
    assert!(found.contains(&vec!["-".to_owned(), "b1".to_owned()]));
    assert!(explored.kinds.unordered_names > 0 && explored.kinds.undead_names > 0);
    let (found, _) = states(&["a", "b"], made(true));
    assert_eq!(
        found,
        set(&[
            &["-", "-"],
            &["", "-"],
            &["a1", "-"],
            &["a1", ""],
            &["a1", "01"],
            &["a1", "b1"],
            &["-", "b1"],
            &["01", "-"]
        ])
    );
}

#[test]
fn a_directory_that_is_not_durable_takes_all_with_it() {
    let last = |synced| {
        let top = scratch();
        let recorder = Recorder::new(top.path(), &[], None);
        make_directories(recorder.as_ref(), &top.path().join("a/b"), synced).unwrap();
        replace(recorder.as_ref(), &top.path().join("a/b/meta"), b"mm").unwrap();
        let disk = Disk::default().after(&recorder.history().0);
        let mut found = BTreeSet::new();
        let budget = Budget { states_a_cut: usize::MAX, seed: 0 };
        let explored = explore(&disk, (&[], [0; 2]), budget, |state, _| {
            let top = scratch();
            state.make(top.path());
            found.insert(top.path().join("a/b/meta").exists());
            Ok(())
        });
        assert_eq!(explored.unwrap().cuts, 1);
        found
    };
    assert_eq!(last(true), BTreeSet::from([true]));
    assert_eq!(last(false), BTreeSet::from([false, true]));
}

/// What changes files, as it is written in a source; with a space in it, so that this list is none.
const CHANGES: [&str; 13] = [
    "fs:: write",
    "fs:: rename",
    "fs:: remove",
    "fs:: create_dir",
    "fs:: copy",
    "fs:: hard_link",
    "fs:: set_permissions",
    "File:: create",
    "File:: options",
    "Open Options",
    ". set_len(",
    ". sync_all(",
    ". sync_data(",
];

#[test]
fn nothing_but_the_seam_changes_files_of_the_log_and_the_store() {
    fn sources(path: &Path, found: &mut Vec<std::path::PathBuf>) {
        if path.is_dir() && !path.ends_with("tests") {
            fs::read_dir(path).unwrap().for_each(|entry| sources(&entry.unwrap().path(), found));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path.to_owned());
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    ["archive", "embedded", "store", "store.rs"].iter().for_each(|part| sources(&src.join(part), &mut found));
    assert!(found.len() > 20, "{found:?}");
    let names =
        |text: &str| CHANGES.iter().map(|name| name.replace(' ', "")).find(|name| text.contains(name));
    for path in found {
        assert_eq!(names(&fs::read_to_string(&path).unwrap()), None, "{}", path.display());
    }
    assert!(names(&fs::read_to_string(src.join("files.rs")).unwrap()).is_some());
}
