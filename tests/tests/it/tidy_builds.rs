//! What builds without a C compiler.

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
