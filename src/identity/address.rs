//! Finds web addresses in free text.
//!
//! Nothing is guessed. A name is a host if its labels are valid under UTS #46 and the rules for host names (STD 3),
//! and it ends in a public suffix of the list. Text around an address is ignored. If a text has several addresses,
//! all are returned in order.
//!
//! A URL parser is not used for validation, because it is tolerant: `a.com;b.com` parses as a host. Hosts are
//! checked by `idna` and `psl`, URLs normalised by `url`. A bare name after other words is no address: `Acme
//! Co.Ltd` and `Beta Co.Ltd` would both be co.ltd.

/// Maximum number of bytes of a text that are read.
const MOST_BYTES: usize = 32 << 10;
/// Maximum length of a displayed address, in bytes.
const MOST_URI_BYTES: usize = 2_048;
/// Words before an address that only announce it.
const LABELS: &[&str] = &[
    "domain", "home", "homepage", "internet", "link", "page", "site", "sitio", "url", "web", "webpage",
    "website", "webseite", "www",
];
/// Schemes, with common typing errors.
const SCHEMES: &[(&str, bool)] = &[
    ("hhtp", false),
    ("hhtps", true),
    ("htp", false),
    ("htps", true),
    ("htttp", false),
    ("htttps", true),
    ("http", false),
    ("httpp", false),
    ("https", true),
    ("httpss", true),
    ("ttp", false),
    ("ttps", true),
];

/// An address whose host is a domain name under a known public suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// In lower-case ASCII, without a trailing dot.
    pub(super) host: String,
    /// Without user name and password.
    url: url::Url,
}

impl Address {
    fn new(secure: bool, host: String, port: Option<u16>, rest: &str) -> Option<Self> {
        let scheme = if secure { "https" } else { "http" };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let url = url::Url::parse(&format!("{scheme}://{host}{port}{rest}")).ok()?;
        let plain = url.host_str() == Some(&host) && url.username().is_empty() && url.password().is_none();
        let address = Self { host, url };
        (plain && address.domain().is_some()).then_some(address)
    }

    /// The registrable domain, and the public suffix at its end.
    pub(super) fn domain(&self) -> Option<(&str, &str)> {
        let domain = psl::domain(self.host.as_bytes())?;
        let suffix = domain.suffix();
        // A host with an unknown suffix ("n/a", "localhost", "acme.invalidtld") is a typing error, not a domain.
        if !suffix.is_known() {
            return None;
        }
        let start = self.host.len() - domain.as_bytes().len();
        let end = self.host.len() - suffix.as_bytes().len();
        Some((self.host.get(start..)?, self.host.get(end..)?))
    }

    /// Path, query and fragment, normalized.
    pub(super) fn rest(&self) -> &str {
        &self.url[url::Position::BeforePath..]
    }

    /// The address as a normalized http or https URL; `None` if it is longer than 2,048 bytes.
    pub(super) fn uri(&self) -> Option<String> {
        let uri = self.url.as_str();
        (uri.len() <= MOST_URI_BYTES).then(|| uri.to_owned())
    }

    /// The address without path, query and fragment.
    pub(super) fn origin(&self) -> String {
        self.url[..url::Position::BeforePath].to_owned() + "/"
    }
}

/// The addresses in a text, in order.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = Address> {
    parts(bounded(text)).flat_map(|part| {
        let mut reader = Reader::default();
        part.split(is_space).for_each(|token| reader.token(token));
        reader.found
    })
}

/// The text, cut at the last white space within the limit: cutting inside an address would give another address.
fn bounded(text: &str) -> &str {
    if text.len() <= MOST_BYTES {
        return text;
    }
    let mut end = MOST_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let start = &text[..end];
    start.rfind(is_space).map_or("", |space| &start[..space])
}

/// Splits a text at list separators. Commas are handled later, because paths may contain them.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r', ';', '|', '；', '、', '，', '•', '¦'])
}

fn is_space(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '"' | '<' | '>' | '“' | '”' | '„' | '«' | '»' | '「' | '」' | '（' | '）'
        )
}

/// Invisible characters, which come with copied text. The two joiners (U+200C, U+200D) are not included: they are
/// significant in names.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Reads the tokens of one part.
#[derive(Default)]
struct Reader {
    found: Vec<Address>,
    /// Words that are not addresses came before. The text is then a sentence or a name ("Acme Co.Ltd"), and only an
    /// address with a scheme or `www.` counts.
    words: bool,
    /// The last token was a scheme without an address.
    scheme: Option<bool>,
}

enum Token {
    Address(Address),
    /// Another kind of address: an e-mail address, another scheme, or an unknown suffix after a scheme.
    Other,
    /// A scheme without an address.
    Scheme(bool),
    /// A word that announces an address.
    Label,
    Word,
}

impl Reader {
    fn token(&mut self, token: &str) {
        let plain: String;
        let mut token = token;
        if token.contains(is_invisible) || token.contains('\\') {
            plain = token
                .chars()
                .filter(|c| !is_invisible(*c))
                .map(|c| if c == '\\' { '/' } else { c })
                .collect();
            token = &plain;
        }
        let mut next = Some(token);
        // Each iteration removes at least one character, so the loop ends.
        while let Some(token) = next.take() {
            let token = trim(token);
            if !token.contains(char::is_alphanumeric) {
                return;
            }
            let (is, rest) = self.read(token);
            next = rest;
            match is {
                Token::Address(address) => self.found.push(address),
                Token::Scheme(secure) => {
                    self.scheme = Some(secure);
                    continue;
                }
                Token::Label => continue,
                Token::Other => {}
                Token::Word => self.words = true,
            }
            self.scheme = None;
        }
    }

    /// Parses the beginning of the token, and returns the rest.
    fn read<'a>(&self, token: &'a str) -> (Token, Option<&'a str>) {
        let (mut secure, text) = strip_schemes(token);
        if secure.is_none() {
            secure = self.scheme;
        }
        if text.is_empty() {
            return (Token::Scheme(secure.unwrap_or_default()), None);
        }
        let end = text.find(['/', '?', '#']).unwrap_or(text.len());
        let cut = text[..end].find(ends_host).unwrap_or(end);
        let (authority, rest, left) = if cut < end {
            let left = &text[cut..];
            let mut chars = left.chars();
            chars.next();
            (&text[..cut], "", Some(chars.as_str()))
        } else {
            let (rest, left) = list_in_path(&text[end..]);
            (authority_of(&text[..end]), rest, left)
        };
        (self.authority(authority, rest, secure), left)
    }

    fn authority(&self, authority: &str, rest: &str, secure: Option<bool>) -> Token {
        let mut host = authority;
        if let Some((_, after)) = host.rsplit_once('@') {
            // The domain of an e-mail address is often that of a mail provider.
            if secure.is_none() {
                return Token::Other;
            }
            host = after;
        }
        let mut port = None;
        if let Some((before, digits)) = host.rsplit_once(':') {
            if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.len() > 5 {
                return Token::Other;
            }
            port = digits.parse().ok();
            host = before;
        }
        if is_label(host) {
            return Token::Label;
        }
        let is_web_address = secure.is_some()
            || host
                .get(..4)
                .is_some_and(|start| start.eq_ignore_ascii_case("www."));
        match host_name(host).and_then(|host| Address::new(secure.unwrap_or_default(), host, port, rest)) {
            Some(address) if is_web_address || !self.words => Token::Address(address),
            None if is_web_address && host.contains('.') => Token::Other,
            _ => Token::Word,
        }
    }
}

/// The canonical form of a host name; `None` if it is not one.
fn host_name(text: &str) -> Option<String> {
    use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
    let text = text.strip_suffix(['.', '。', '．', '｡']).unwrap_or(text);
    let name = Uts46::new().to_ascii(
        text.as_bytes(),
        AsciiDenyList::STD3,
        Hyphens::CheckFirstLast,
        DnsLength::Verify,
    );
    name.ok()
        .filter(|name| name.contains('.'))
        .map(|name| name.into_owned())
}

/// Removes punctuation around an address.
fn trim(token: &str) -> &str {
    let around = |c: char| {
        matches!(
            c,
            '(' | ')'
                | '['
                | ']'
                | '{'
                | '}'
                | '\''
                | '`'
                | '´'
                | '‘'
                | '’'
                | '‹'
                | '›'
                | '*'
                | ','
                | '!'
                | '~'
                | '='
                | '+'
                | '&'
                | '…'
        )
    };
    let end = |c: char| around(c) || matches!(c, '.' | ':' | '?' | '-' | '–' | '—' | '。');
    let start = |c: char| around(c) || matches!(c, '.' | ':' | '?' | '-' | '–' | '—' | '#');
    // A trailing colon of a label is removed, too.
    token.trim_start_matches(start).trim_end_matches(end)
}

/// Characters that a host name cannot contain: the address ends there, and another one may begin.
fn ends_host(c: char) -> bool {
    let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '@' | '_' | '%');
    if c.is_ascii() {
        !of_host(c)
    } else {
        matches!(c, '–' | '—' | '‘' | '’' | '…' | '·')
    }
}

/// Removes dots and colons at the end of an authority.
fn authority_of(text: &str) -> &str {
    text.trim_end_matches([':', '.'])
}

/// Splits a path where another address begins after a comma.
fn list_in_path(text: &str) -> (&str, Option<&str>) {
    for (at, _) in text.match_indices(',') {
        let after = &text[at + 1..];
        let begins = |start: &str| {
            after
                .get(..start.len())
                .is_some_and(|is| is.eq_ignore_ascii_case(start))
        };
        if ["http:", "https:", "http//", "https//", "www.", "//"]
            .into_iter()
            .any(begins)
        {
            return (&text[..at], Some(after));
        }
    }
    (text, None)
}

/// Removes all leading schemes. Returns whether there was one, and whether the last one was secure.
fn strip_schemes(token: &str) -> (Option<bool>, &str) {
    let mut secure = None;
    let mut text = token;
    loop {
        let word = text
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(text.len());
        let after = &text[word..];
        let body = after.trim_start_matches([':', '/']);
        let known = SCHEMES
            .iter()
            .find(|(scheme, _)| text[..word].eq_ignore_ascii_case(scheme));
        if let Some((_, is_secure)) = known
            && (body.len() < after.len() || after.is_empty())
        {
            (secure, text) = (Some(*is_secure), body);
            continue;
        }
        // For example "website:acme.com".
        if is_label(&text[..word]) && after.starts_with(':') && body.len() < after.len() {
            text = body;
            continue;
        }
        // For example "//acme.com" and "http://www.http://acme.com".
        let body = text.trim_start_matches('/');
        if body.len() < text.len() {
            text = body;
            continue;
        }
        if let Some(inner) = text
            .get(..4)
            .filter(|www| www.eq_ignore_ascii_case("www."))
            .map(|_| &text[4..])
            && strip_one_scheme(inner)
        {
            text = inner;
            continue;
        }
        // For example "*.acme.com" after a scheme.
        return (secure, text.trim_start_matches(['*', '.']));
    }
}

fn strip_one_scheme(text: &str) -> bool {
    let word = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    text[word..].starts_with([':', '/'])
        && SCHEMES
            .iter()
            .any(|(scheme, _)| text[..word].eq_ignore_ascii_case(scheme))
}

fn is_label(text: &str) -> bool {
    LABELS.iter().any(|label| text.eq_ignore_ascii_case(label))
}
