#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tandem::fuzz::signaling::sip_stream(data));
