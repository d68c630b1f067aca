//! What builds without a C compiler, and from which images the container.

use crate::tidy::root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages that build C or bind to it.
const NATIVE: [&str; 5] = ["cc", "cmake", "bindgen", "libmimalloc-sys", "rdkafka-sys"];

/// Every package that a crate of the workspace is built from, its tests excepted.
fn built_from(krate: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let tree = ["tree", "--locked", "--offline", "-p", krate, "-e", "normal,build", "--prefix", "none"];
    let features: &[&str] = if krate == "ledgerflow-tests" { &["--no-default-features"] } else { &[] };
    let out = Command::new(cargo)
        .args(tree)
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Cores, auditor and the simulation of the whole pipeline are Rust alone.
#[test]
fn cores_and_simulation_build_without_c() {
    for krate in ["posting", "ingest", "settlement", "reconcile", "audit", "tests"] {
        let found = built_from(&format!("ledgerflow-{krate}"));
        assert!(found.len() > 20, "{krate}: {found:?}");
        for native in NATIVE {
            assert!(!found.iter().any(|name| name == native), "{krate} needs {native}");
        }
    }
    assert!(
        built_from("ledgerflow").iter().any(|name| name == "libmimalloc-sys"),
        "the list sees what is there"
    );
}

/// Hosts of registries, in halves: this file is looked through too.
const HOSTS: [(&str, &str); 6] = [
    ("gcr", ".io"),
    ("docker", ".io"),
    ("quay", ".io"),
    ("ghcr", ".io"),
    ("crates", ".io"),
    ("public.ecr", ".aws"),
];

/// Every file of the project but those that a build or a run makes, and cargo's lock files.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    const MADE: [&str; 7] =
        ["target", "build", "__pycache__", "data", "ledgerflow-data", "ledgerflow-bench", ".git"];
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap_or_default();
        let made = MADE.iter().any(|made| name == *made);
        let lock = entry.extension().is_some_and(|extension| extension == "lock");
        if entry.is_dir() && !made {
            walk(&entry, found);
        } else if entry.is_file() && !made && !lock {
            found.push(entry);
        }
    }
}

/// Which registry things come from is the machine's setting: no file names a host, and images are named without one.
#[test]
fn no_file_names_the_host_of_a_registry() {
    let mut files = Vec::new();
    walk(&root(), &mut files);
    assert!(files.len() > 300 && files.contains(&root().join("compose/Dockerfile")), "{} files", files.len());
    for path in files {
        let text = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&text);
        for (host, domain) in HOSTS {
            let host = format!("{host}{domain}");
            assert!(!text.contains(&host), "{} names {host}", path.display());
        }
    }
    let dockerfile = std::fs::read_to_string(root().join("compose/Dockerfile")).unwrap();
    let (mut images, mut stages) = (BTreeSet::new(), BTreeSet::new());
    for from in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let (image, stage) = from.split_once(" AS ").unwrap();
        images.extend((!stages.contains(image)).then_some(image));
        stages.insert(stage);
    }
    assert_eq!(images.len(), 2, "{images:?}");
    for image in images {
        assert!(!image.contains('/'), "{image} is no official image by its plain name");
    }
}
