//! Integration, simulation and tidy tests: one binary.
mod tidy_schemas;
