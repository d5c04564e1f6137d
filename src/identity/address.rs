//! Web addresses in a text as people type it.
//!
//! Nothing is guessed. A name is a host if it consists of labels that UTS #46 and the rules for host names (STD 3) allow and
//! ends in a public suffix of the list. What stands around an address is left out; where a text has several, all are given, in
//! their order.

/// Most bytes of a text that are looked at.
const MOST_BYTES: usize = 32 << 10;
/// Most bytes of an address as it is shown.
const MOST_URI_BYTES: usize = 2_048;
/// Words before an address that say only that one follows.
const LABELS: &[&str] = &[
    "domain", "home", "homepage", "internet", "link", "page", "site", "sitio", "url", "web", "webpage",
    "website", "webseite", "www",
];
/// How people write the scheme, with the usual slips.
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
    /// In lower case ASCII, without a trailing point.
    pub(super) host: String,
    /// Without credentials.
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

    /// The registrable domain and the public suffix it ends in.
    pub(super) fn domain(&self) -> Option<(&str, &str)> {
        let domain = psl::domain(self.host.as_bytes())?;
        let suffix = domain.suffix();
        // A suffix nobody registered ("n/a", "localhost", "acme.invalidtld") is a slip of the pen, not a domain.
        if !suffix.is_known() {
            return None;
        }
        let start = self.host.len() - domain.as_bytes().len();
        let end = self.host.len() - suffix.as_bytes().len();
        Some((self.host.get(start..)?, self.host.get(end..)?))
    }

    /// Path, query and fragment, normalised.
    pub(super) fn rest(&self) -> &str {
        &self.url[url::Position::BeforePath..]
    }

    /// The address as a normalised http or https URL; `None` for one that is longer than 2,048 bytes.
    pub(super) fn uri(&self) -> Option<String> {
        let uri = self.url.as_str();
        (uri.len() <= MOST_URI_BYTES).then(|| uri.to_owned())
    }

    /// The address without path, query and fragment.
    pub(super) fn origin(&self) -> String {
        self.url[..url::Position::BeforePath].to_owned() + "/"
    }
}

/// The addresses of a text, in their order.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = Address> {
    parts(bounded(text)).flat_map(|part| {
        let mut reader = Reader::default();
        part.split(is_space).for_each(|token| reader.token(token));
        reader.found
    })
}

/// The text, or its beginning up to the last white space within bounds: an address that is cut is another one.
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

/// What lists are written with. A comma is looked at where it stands: paths have commas.
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

/// Characters that are not seen: they come with text that is copied from elsewhere. The two joiners mean something in names.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Reads the tokens of one part.
#[derive(Default)]
struct Reader {
    found: Vec<Address>,
    /// Words that are no addresses came before: what follows is a sentence or a name ("Acme Co.Ltd"), and only an address
    /// that says that it is one counts.
    words: bool,
    /// A scheme stood alone.
    scheme: Option<bool>,
}

enum Token {
    Address(Address),
    /// An address of something else: an e-mail address, another scheme, an unknown suffix behind a scheme.
    Other,
    /// A scheme without anything.
    Scheme(bool),
    /// Says only that an address follows.
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
        // Each turn takes something away.
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

    /// Reads the token's beginning; what is left of it comes back.
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
            // A person's address is at somebody's mail provider as often as not.
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
        let said = secure.is_some()
            || host
                .get(..4)
                .is_some_and(|start| start.eq_ignore_ascii_case("www."));
        match host_name(host).and_then(|host| Address::new(secure.unwrap_or_default(), host, port, rest)) {
            Some(address) if said || !self.words => Token::Address(address),
            None if said && host.contains('.') => Token::Other,
            _ => Token::Word,
        }
    }
}

/// The name of a host in its one form, if it is one.
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

/// Removes what stands around an address.
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
    // A label says so with its colon.
    token.trim_start_matches(start).trim_end_matches(end)
}

/// What a host's name cannot hold: there the address ends, and another may begin.
fn ends_host(c: char) -> bool {
    let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '@' | '_' | '%');
    if c.is_ascii() {
        !of_host(c)
    } else {
        matches!(c, '–' | '—' | '‘' | '’' | '…' | '·')
    }
}

/// An authority may be followed by nothing but a point or a colon.
fn authority_of(text: &str) -> &str {
    text.trim_end_matches([':', '.'])
}

/// Ends a path where another address begins behind a comma.
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

/// Removes schemes, as often as they stand there; tells whether there was one, and whether the last was secure.
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
        // "website:acme.com".
        if is_label(&text[..word]) && after.starts_with(':') && body.len() < after.len() {
            text = body;
            continue;
        }
        // "//acme.com", and "http://www.http://acme.com".
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
        // "*.acme.com", behind a scheme.
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
