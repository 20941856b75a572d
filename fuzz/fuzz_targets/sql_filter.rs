#![no_main]

#[path = "../filter.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::sql_filter(bytes));
