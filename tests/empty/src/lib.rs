//! A filter on the SDK that does nothing. Built with the SDK's own exports it is what anybody starts from; built with a filter's
//! list of exports it is what that filter is compared with. With a number as its configuration it reads one property so many
//! times a request: that is how the benches find out what a getter costs in the same run. With a text it writes that as the subject
//! of each request, in place of jwt-auth.

#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    use proxy_wasm::hostcalls;
    use proxy_wasm::traits::{Context, HttpContext, RootContext};
    use proxy_wasm::types::{Action, ContextType};

    struct Empty;

    impl Context for Empty {}
    impl HttpContext for Empty {}

    struct Getters(u32);

    impl Context for Getters {}
    impl HttpContext for Getters {
        fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
            for _ in 0..self.0 {
                let _ = hostcalls::get_property(vec!["source", "address"]);
            }
            Action::Continue
        }
    }

    struct Subject(String);

    impl Context for Subject {}
    impl HttpContext for Subject {
        fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
            let _ = hostcalls::set_property(vec!["portcullis.jwt-auth.subject"], Some(self.0.as_bytes()));
            Action::Continue
        }
    }

    struct Root(String);

    impl Context for Root {}
    impl RootContext for Root {
        fn on_configure(&mut self, _: usize) -> bool {
            let config = hostcalls::get_buffer(proxy_wasm::types::BufferType::PluginConfiguration, 0, 16);
            self.0 =
                config.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
            true
        }
        fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
            Some(match (self.0.as_str(), self.0.parse()) {
                ("", _) => Box::new(Empty),
                (_, Ok(times)) => Box::new(Getters(times)),
                (subject, Err(_)) => Box::new(Subject(subject.to_owned())),
            })
        }
        fn get_type(&self) -> Option<ContextType> {
            Some(ContextType::HttpContext)
        }
    }

    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|_| Box::new(Root(String::new())));
    }}
}
