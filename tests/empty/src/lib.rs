//! A filter on the SDK that does nothing. Built with the SDK's own exports it is what anybody starts from; built with a filter's
//! list of exports it is what that filter is compared with. With a number as its configuration it reads one property so many
//! times a request: that is how the benches find out what a getter costs in the same run.

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

    struct Root(u32);

    impl Context for Root {}
    impl RootContext for Root {
        fn on_configure(&mut self, _: usize) -> bool {
            let config = hostcalls::get_buffer(proxy_wasm::types::BufferType::PluginConfiguration, 0, 16);
            let text = config.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
            self.0 = text.and_then(|t| t.parse().ok()).unwrap_or(0);
            true
        }
        fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
            if self.0 == 0 { Some(Box::new(Empty)) } else { Some(Box::new(Getters(self.0))) }
        }
        fn get_type(&self) -> Option<ContextType> {
            Some(ContextType::HttpContext)
        }
    }

    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|_| Box::new(Root(0)));
    }}
}
