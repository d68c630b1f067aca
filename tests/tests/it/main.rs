//! Integration, simulation and tidy tests: one binary.
mod bad_input;
mod conformance;
mod main_job;
mod simulation;
mod tidy;
mod tidy_schemas;
