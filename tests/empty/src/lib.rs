//! A filter on the SDK that does nothing. Built with the SDK's own exports it is what anybody starts from; built with a filter's
//! list of exports it is what that filter is compared with.

#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    use proxy_wasm::traits::{Context, HttpContext, RootContext};
    use proxy_wasm::types::ContextType;

    struct Empty;

    impl Context for Empty {}
    impl HttpContext for Empty {}
    impl RootContext for Empty {
        fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
            Some(Box::new(Empty))
        }
        fn get_type(&self) -> Option<ContextType> {
            Some(ContextType::HttpContext)
        }
    }

    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|_| Box::new(Empty));
    }}
}
