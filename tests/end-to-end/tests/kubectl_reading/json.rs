//! Generates documents in JSON and in nearly valid JSON.

use serde_json::{Value, json};

use crate::composer::{Composer, IMAGES, TRAILING_TEXT};

impl Composer<'_> {
    pub fn json_document(&mut self, number: usize) -> String {
        let containers: Vec<Value> = (0..1 + self.random.below(3))
            .map(|index| {
                let mut container = json!({ "name": format!("c{index}"), "image": self.random.pick(&IMAGES) });
                for probe in ["livenessProbe", "readinessProbe"] {
                    match self.random.below(4) {
                        0 => container[probe] = json!({ "httpGet": { "path": "/a&b *c", "port": 80 } }),
                        1 => container[probe] = json!(null),
                        _ => {}
                    }
                }
                if self.random.chance(5) {
                    container["image"] = [json!(5), json!(true), json!(null), json!({}), json!(""), json!(1.5)]
                        [self.random.below(6)]
                    .clone();
                }
                container
            })
            .collect();
        let mut object = if self.random.chance(60) {
            json!({ "apiVersion": "v1", "kind": "Pod", "spec": { "containers": containers } })
        } else {
            let template = json!({ "spec": { "containers": containers } });
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "template": template } })
        };
        object["metadata"] = json!({ "name": format!("p{number}"), "annotations": { "a": "R &D \" \\ \t é 😀 {" } });
        let mut text =
            if self.random.chance(50) { object.to_string() } else { serde_json::to_string_pretty(&object).unwrap() };
        text = match self.random.below(16) {
            0 => text.replace("  ", "\t"),
            1 => text.replace("app:latest", "a\\u0070p:l\\u0061test"),
            2 => text.replace("\"image\"", "\"im\\u0061ge\"").replace('/', "\\/"),
            3 => text.replace('😀', "\\ud83d\\ude00"),
            4 => self.slip("a trailing comma", text.replacen('}', ",}", 1)),
            5 => {
                let comment = self.random.pick(&["{ // comment\n", "{ /* &i */ "]);
                self.slip("a comment", text.replacen('{', comment, 1))
            }
            6 => self.slip("a comment", text.replacen('{', "{ # comment\n", 1)),
            7 => self.slip("a duplicate key", text.replacen("\"image\":", "\"image\":\"x:latest\",\"image\":", 1)),
            8 => self.slip("a duplicate key", text.replacen("\"spec\":", "\"spec\":{},\"spec\":", 1)),
            9 => text.replacen("\"Pod\"", "Pod", 1),
            10 => text.replacen("\"kind\"", "kind", 1),
            11 => text.replacen("\"name\":", "'name' : ", 1),
            12 => text.replacen("\"image\":", "\"image\"\n:\n", 1),
            13 => self.slip(TRAILING_TEXT, text) + self.random.pick(&["}", " x", "]", ",", "\n# end", "\n...\n"]),
            _ => text,
        };
        text + self.random.pick(&["", "\n", "\r\n", " \n\n"])
    }

    fn slip(&mut self, reason: &'static str, text: String) -> String {
        self.allow(reason);
        text
    }
}
