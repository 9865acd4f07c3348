#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tandem::fuzz::media::telephone_event(data));
