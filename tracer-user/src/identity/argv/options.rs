//! Options in the forms that VMMs share.

/// The value of a long option, `--name VALUE` or `--name=VALUE`; the last one, and none behind `--`.
pub(super) fn last_value<'a>(arguments: &[&'a str], option: &str) -> Option<&'a str> {
    let mut arguments = arguments.iter().copied().take_while(|argument| *argument != "--");
    let mut last = None;
    while let Some(argument) = arguments.next() {
        let Some(rest) = argument.strip_prefix(option) else { continue };
        match rest.strip_prefix('=') {
            Some(value) => last = Some(value),
            None if rest.is_empty() => last = arguments.next().or(last),
            None => {}
        }
    }
    last
}

/// The value of a key in a list such as `a=1,uuid=2,b=[x,y]`; commas within brackets and quotes part nothing
/// (Cloud Hypervisor's option_parser).
pub(super) fn list_value<'a>(list: &'a str, key: &str) -> Option<&'a str> {
    let (mut depth, mut quoted) = (0_u32, false);
    let parts = list.split(|c: char| {
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => depth = depth.saturating_add(1),
            ']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0 && !quoted
    });
    parts.filter_map(|part| part.strip_prefix(key)?.strip_prefix('=')).last()
}
