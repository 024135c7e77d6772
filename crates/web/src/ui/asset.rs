//! Style sheet, scripts, icon: embedded in the binary, served under names that change with the content.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::access::Access;
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::get("/assets/{name}", Access::Public, get)]
}

/// What the build script gathered.
#[derive(RustEmbed)]
#[folder = "$OUT_DIR/assets"]
struct Assets;

/// The name is of the content, so what was fetched once is never asked for again.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Where a file is served: `app.css` is `/assets/app-0123456789abcdef.css`. For templates.
pub(crate) fn url(name: &str) -> String {
    let stamp = Assets::get(name).map(|file| stamp(&file)).unwrap_or_default();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("/assets/{stem}-{stamp}.{extension}")
}

fn stamp(file: &EmbeddedFile) -> String {
    file.metadata.sha256_hash().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to memory can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Answers only to the name with the right stamp: an old page gets no new script.
pub(crate) async fn get(Path(name): Path<String>) -> Response {
    let Some((file, content_type)) = find(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, FOREVER)];
    (headers, file.data).into_response()
}

fn find(name: &str) -> Option<(EmbeddedFile, &'static str)> {
    let (stamped, extension) = name.rsplit_once('.')?;
    let (stem, claimed) = stamped.rsplit_once('-')?;
    let content_type = match extension {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let file = Assets::get(&format!("{stem}.{extension}"))?;
    (stamp(&file) == claimed).then_some((file, content_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_under_its_own_address_only() {
        for name in Assets::iter() {
            let address = url(&name);
            let served = address.strip_prefix("/assets/").expect("an asset");
            assert!(find(served).is_some(), "{address}");
            assert!(find(&name).is_none(), "{name} without its stamp");
        }
        for name in ["htmx.js", "htmx-sse.js", "app.css", "app.js", "icon.svg"] {
            assert!(Assets::get(name).is_some(), "{name}");
        }
    }
}
