//! The keys of JSON Pointers (RFC 6901).

/// Returns a key as it is written in a JSON Pointer.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_escaped_key_is_found_by_its_pointer() {
        for key in ["image", "example.com/gpu", "~", "~1", "~/~0"] {
            assert_eq!(json!({ key: 1 }).pointer(&format!("/{}", escape(key))), Some(&json!(1)), "{key}");
        }
    }
}
