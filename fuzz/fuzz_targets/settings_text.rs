#![no_main]

#[path = "../settings_text.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::settings_text(bytes));
