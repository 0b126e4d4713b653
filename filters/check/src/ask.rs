//! A request on the command line, in curl's manner.

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its authority.
    pub authority: String,
    /// Its headers, with small names, in order.
    pub headers: Vec<(String, String)>,
    /// Whether it has a body.
    pub has_body: bool,
}

/// The words of a line, as a shell has them: quotes hold words together, a backslash takes the next character as it stands.
///
/// # Errors
/// If a quote is not closed.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a {open} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// Reads `GET /documents/1 -H "authorization: Bearer ..."`, or the words of a curl.
///
/// # Errors
/// What is not understood.
pub fn request(words: &[String]) -> Result<Asked, String> {
    let mut asked = Asked {
        method: String::new(),
        target: String::new(),
        authority: "localhost".into(),
        headers: Vec::new(),
        has_body: false,
    };
    let mut words = words.iter().map(String::as_str).peekable();
    if words.peek() == Some(&"curl") {
        words.next();
    }
    while let Some(word) = words.next() {
        let mut value = |what: &str| words.next().ok_or_else(|| format!("{word}: what follows is no {what}"));
        match word {
            "-X" | "--request" => asked.method = value("method")?.to_owned(),
            "-H" | "--header" => header(&mut asked, value("header")?)?,
            "-b" | "--cookie" => {
                let cookie = value("cookie")?.to_owned();
                asked.headers.push(("cookie".into(), cookie));
            }
            "-d" | "--data" | "--data-raw" | "--data-binary" => {
                value("body")?;
                asked.has_body = true;
            }
            "-I" | "--head" => asked.method = "HEAD".into(),
            "-i" | "-s" | "-v" | "-sS" | "-k" | "--silent" | "--include" => {}
            option if option.starts_with('-') => {
                return Err(format!("there is no {option}; write METHOD PATH -H 'NAME: VALUE'"));
            }
            word if asked.target.is_empty() && is_target(word) => target(&mut asked, word),
            word if asked.method.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic()) => {
                asked.method = word.to_owned();
            }
            word => {
                return Err(format!(
                    "`{word}` is neither method nor path; write METHOD PATH -H 'NAME: VALUE'"
                ));
            }
        }
    }
    if asked.target.is_empty() {
        return Err("no path; write METHOD PATH -H 'NAME: VALUE'".into());
    }
    if asked.has_body && !asked.headers.iter().any(|(name, _)| name == "content-type") {
        asked.headers.push(("content-type".into(), "application/x-www-form-urlencoded".into()));
    }
    if asked.method.is_empty() {
        asked.method = if asked.has_body { "POST" } else { "GET" }.into();
    }
    Ok(asked)
}

fn is_target(word: &str) -> bool {
    word.starts_with('/') || word.contains("://") || word == "*"
}

fn target(asked: &mut Asked, word: &str) {
    // A fragment is not sent.
    let word = word.split('#').next().unwrap_or_default();
    let Some((_, rest)) = word.split_once("://").filter(|_| !word.starts_with('/')) else {
        word.clone_into(&mut asked.target);
        return;
    };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    authority.clone_into(&mut asked.authority);
    asked.target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
}

fn header(asked: &mut Asked, text: &str) -> Result<(), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("`{text}` is no header; write 'NAME: VALUE'"))?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
    if name == "host" {
        asked.authority = value;
    } else {
        asked.headers.push((name, value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, String> {
        request(&words(line)?)
    }

    #[test]
    fn a_line_is_read_as_a_shell_and_curl_read_it() {
        let asked =
            read(r#"POST /a?b=c%20d -H "Authorization: Bearer x" -H 'X-A: it\s' -H host:API.test"#).unwrap();
        assert_eq!((&*asked.method, &*asked.target, &*asked.authority), ("POST", "/a?b=c%20d", "API.test"));
        assert_eq!(
            asked.headers,
            [("authorization".into(), "Bearer x".into()), ("x-a".into(), "it\\s".into())]
        );
        let asked = read("curl -i http://127.0.0.1:10000/orders/1#x -d '{}'").unwrap();
        assert_eq!(
            (&*asked.method, &*asked.target, &*asked.authority),
            ("POST", "/orders/1", "127.0.0.1:10000")
        );
        assert!(asked.has_body);
        assert_eq!(read("https://a.test?x=1").unwrap().target, "/?x=1");
        assert_eq!(read("/x").unwrap().method, "GET");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, want) in [
            ("GET", "no path"),
            ("GET /x -H", "-H: what follows is no header"),
            ("GET /x -H x", "`x` is no header"),
            ("GET /x --proxy y", "there is no --proxy"),
            ("GET /x 'y", "a ' is not closed"),
            ("GET /x PUT", "`PUT` is neither"),
        ] {
            let said = read(line).unwrap_err();
            assert!(said.starts_with(want), "{line}: {said}");
        }
    }
}
