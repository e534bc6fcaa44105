//! Texts that tenants choose: bounded names, and lists with commas between their parts.

use std::borrow::Cow;

/// Characters of a VM's name. libvirt and QEMU set no limit, and a tenant may choose the name.
pub const NAME_CHARS: usize = 256;

/// A name cut at [`NAME_CHARS`] characters, the last of which is an ellipsis then.
///
/// ```
/// # use tracer_user::identity::text::bounded_name;
/// assert_eq!(bounded_name("web01"), "web01");
/// assert_eq!(bounded_name(&"é".repeat(256)), "é".repeat(256));
/// assert_eq!(bounded_name(&"é".repeat(257)), "é".repeat(255) + "…");
/// ```
pub fn bounded_name(name: &str) -> Cow<'_, str> {
    bounded(name, NAME_CHARS)
}

/// A text cut at so many characters, at least one; the last is an ellipsis then.
pub fn bounded(text: &str, chars: usize) -> Cow<'_, str> {
    let mut ends = text.char_indices().map(|(at, _)| at).skip(chars.saturating_sub(1));
    match (ends.next(), ends.next()) {
        (Some(last), Some(_)) => Cow::Owned(format!("{}…", &text[..last])),
        _ => Cow::Borrowed(text),
    }
}

/// Splits a text at single commas; doubled ones stand for one, as in QEMU's options.
///
/// ```
/// # use tracer_user::identity::text::split_at_commas;
/// assert_eq!(split_at_commas("a,b=1,,2,"), ["a", "b=1,2", ""]);
/// ```
pub fn split_at_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == ',' && characters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("never empty").push(c);
        }
    }
    parts
}

/// A UUID as 36 characters in lower case, from that form in any case. The UUID of zeroes says that there is
/// none.
///
/// ```
/// # use tracer_user::identity::text::uuid;
/// assert_eq!(uuid("DCF47DBD-46D1-4D5B-B442-262A806A333A").unwrap(), "dcf47dbd-46d1-4d5b-b442-262a806a333a");
/// assert_eq!(uuid("dcf47dbd46d14d5bb442262a806a333a"), None);
/// assert_eq!(uuid("00000000-0000-0000-0000-000000000000"), None);
/// ```
pub fn uuid(text: &str) -> Option<String> {
    let is_hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let fits = |(at, byte): (usize, u8)| if is_hyphen(at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    let is_uuid = text.len() == 36 && text.bytes().enumerate().all(fits);
    let is_some = text.bytes().any(|byte| !matches!(byte, b'0' | b'-'));
    (is_uuid && is_some).then(|| text.to_ascii_lowercase())
}

/// A number in decimal digits and nothing else.
pub fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether a text can be the id of a Firecracker VM, a Kata sandbox or a container: letters, digits and
/// hyphens, at most 64 of them (Firecracker's docs/jailer.md).
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a text is a container's id as containerd and CRI-O make it: 64 hexadecimal digits.
pub fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
