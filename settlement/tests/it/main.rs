//! Settlement on journals made by a small builder: balances, days, contradictions, replay.
mod balances;
mod contradictions;
mod days;
mod journal;
mod model;
mod queries;
mod speed;
mod world;
