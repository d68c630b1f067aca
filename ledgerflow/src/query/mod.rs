//! Questions about the books and their answers as tables: one code path, whether the pipeline runs in this process,
//! in another one (through its socket), or not at all.

pub mod journal;
