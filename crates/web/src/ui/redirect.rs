//! Where to go after logging in: an address of our own, whatever the query says (P9, R12).

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What is encoded of an address inside another one's query.
const IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'=');

/// The login page, which leads to `asked` afterwards.
pub(crate) fn login_for(asked: &str) -> String {
    match own(asked) {
        "/" => "/login".to_owned(),
        asked => format!("/login?redirect={}", utf8_percent_encode(asked, IN_QUERY)),
    }
}

/// `asked` if it is an absolute path of our own, with or without a query; else the first page.
pub(crate) fn own(asked: &str) -> &str {
    if is_own(asked) { asked } else { "/" }
}

/// Browsers take `\` for `/`, leave out tabs and line breaks, and read `//host` as another host. The path is looked at
/// decoded as well, since somebody on the way may decode it.
fn is_own(asked: &str) -> bool {
    let path = asked.split(['?', '#']).next().unwrap_or(asked);
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let stays = |path: &str| path.starts_with('/') && !path.contains("//") && !path.contains(['\\', '@']);
    asked.bytes().all(|byte| byte.is_ascii_graphic())
        && stays(path)
        && stays(&decoded)
        && !decoded.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r12_only_paths_of_our_own() {
        for good in [
            "/",
            "/commands",
            "/commands?mine=0&q=a%20b&page=2",
            "/commands?next=//x&at=a@b",
            "/commands/1f#output",
        ] {
            assert_eq!(own(good), good);
        }
        let bad = [
            "",
            "commands",
            "//evil.org",
            "/\\evil.org",
            "\\\\evil.org",
            "/%2f%2fevil.org",
            "/%2Fevil.org",
            "/%5cevil.org",
            "/./%2f/evil.org",
            "https://evil.org",
            "javascript:alert(1)",
            "/\t/evil.org",
            "/\n/evil.org",
            "/%0d%0aSet-Cookie:x",
            "/%09/evil.org",
            "/@evil.org",
            "/%40evil.org",
            "/a//b",
            "/ä",
            "/a b",
            "/a\u{7f}",
            "/a?b\r\nx",
            "///evil.org",
        ];
        for bad in bad {
            assert_eq!(own(bad), "/", "{bad:?}");
        }
    }

    #[test]
    fn p09_the_address_asked_for_survives_the_query() {
        let login = login_for("/commands?mine=0&q=50%25+x");
        assert_eq!(login, "/login?redirect=/commands%3Fmine%3D0%26q%3D50%2525%2Bx");
        assert_eq!(login_for("//evil.org"), "/login");
    }

    proptest! {
        /// Whatever comes, the browser ends up on our own host: what WHATWG's rules make of the address agrees.
        #[test]
        fn r12_never_leaves_the_host(asked in r"[/\\%@:.?#a-f0-9\t\r\n ]{0,12}|/(%2[fF]|%5[cC]|[/\\@:.a]){0,8}") {
            let base = url::Url::parse("http://muster.test:8080/login").expect("an address");
            let went = base.join(own(&asked)).expect("stays an address");
            prop_assert_eq!(went.origin(), base.origin());
            let decoded = percent_decode_str(own(&asked)).decode_utf8_lossy().into_owned();
            if let Ok(went) = base.join(decoded.split('?').next().unwrap_or("/")) {
                prop_assert_eq!(went.origin(), base.origin());
            }
        }
    }
}
