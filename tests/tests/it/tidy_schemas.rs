//! The committed protobuf code is what the `.proto` files give. `UPDATE=1` (or `make schemas`) writes it.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace root").to_path_buf()
}

fn generate() -> String {
    let proto = root().join("schemas/proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir(proto.join("ledgerflow/v1"))
        .expect("proto folder")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "proto"))
        .collect();
    files.sort();
    let set = protox::compile(&files, [&proto]).expect("proto files compile");
    let out = tempfile::tempdir().expect("temporary folder");
    prost_build::Config::new().bytes(["."]).out_dir(out.path()).compile_fds(set).expect("code generation");
    std::fs::read_to_string(out.path().join("ledgerflow.v1.rs")).expect("generated file")
}

#[test]
fn generated_code_is_current() {
    let path = root().join("schemas/src/gen/ledgerflow.v1.rs");
    let generated = generate();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("write generated file");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "schemas/src/gen is stale: run `make schemas`");
}
