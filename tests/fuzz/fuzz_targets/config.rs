//! Configurations, as JSON and as serialized `Struct`: no panic, and an error always names the filter.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_common::filter::Filter;
use portcullis_common::memory::MemoryHost;
use portcullis_jwt_auth::filter::JwtAuth;
use portcullis_metrics::filter::Metrics;
use portcullis_rate_limit::filter::RateLimit;

fuzz_target!(|config: &[u8]| {
    fn load<F: Filter>(config: &[u8]) {
        if let Err(error) = F::configure(config, &MemoryHost::default()) {
            assert!(error.to_string().starts_with(F::NAME));
        }
    }
    load::<JwtAuth>(config);
    load::<RateLimit>(config);
    load::<Metrics>(config);
});
