//! A conversation with everything that agents write.

use turnkeep_model::Role;
use turnkeep_render::chrono::{DateTime, FixedOffset};
use turnkeep_render::{Header, ToolCall, Turn};

pub(crate) fn at(time: &str) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339(&format!("2026-11-{time}:00+01:00")).unwrap()
}

pub(crate) fn header() -> Header<'static> {
    let mut header = Header::new("Fix the redirect after login");
    header.agent = Some("claude".into());
    header.folder = Some("~/work/shop".into());
    header.turns = 4;
    header.span = Some((at("28T14:02"), at("29T09:13")));
    header.resume = Some("turnkeep resume 0b2f".into());
    header
}

const PROMPT: &str = "\
After login the shop sends people to /login again. Find out why, and keep the target in the address, so that a bookmark works; do not touch the session store.

    thread 'main' panicked at src/login.rs:42:
    \tassertion failed: *target* is set
";

const ANSWER: &str = "\
# The cause

The handler compares `redirect_to` with the **whole** address, *including* the query. So no target is ever equal, and each \
request is sent back. See [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110) and [the handler](src/login.rs#L42).

1. Read the target before the session is renewed.
2. Compare paths only:
   - `a/b` and `a/b?x=1` are equal,
   - a missing target is `/`.
3. Renew.

   The new session must be in the answer.

```rust
// Compare paths only.
fn is_same(a: &Url, b: &Url) -> bool {
\ta.path() == b.path() && a.host() == Some(\"shop.example\") // a very long line of code stays in one piece, so that it can be copied
}
```

> The old behaviour was never documented.
>
> > Not even here.

| File | Change | Reason |
|------|:------:|-------:|
| `src/login.rs` | compares paths | the query differs each time, because it contains the time of the request and a random word |
| `src/url.rs` | new | |

- [x] tests
- [ ] docs

---

多言語の文章も正しく折り返されます。端末の幅を超える行は、文字の途中ではなく、規則に従って分割されます。絵文字 👩‍💻 も二桁です。

![The flow](https://example.org/flow.png) <kbd>Ctrl</kbd> ~~old~~ &lt;b&gt;
";

pub(crate) fn turns() -> Vec<Turn<'static>> {
    let mut answer = Turn::new(2, Role::Assistant, at("28T14:05"), ANSWER);
    answer.tools = vec![
        ToolCall::new(
            "Bash",
            "cargo test --package shop login\n# all of them",
            Some("running 2 tests\ntest login ... ok\n".into()),
        ),
        ToolCall::new("Read", "src/login.rs", None),
    ];
    vec![
        Turn::new(1, Role::User, at("28T14:02"), PROMPT),
        answer,
        Turn::new(3, Role::Tool, at("28T14:06"), "2 passed\n0 failed"),
        Turn::new(
            4,
            Role::User,
            at("29T09:13"),
            "Thanks. Now the <b>docs</b>?",
        ),
    ]
}
