//! libvirt's file about a running domain, `/run/libvirt/qemu/NAME.xml`.
//!
//! Root writes it, but for session domains, whose file is their owner's. So it is read as hostile: bounded in
//! size and depth, and nothing is expanded that XML does not predefine.

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};
use thiserror::Error;

use crate::identity::{
    fact::Kind,
    known::Facts,
    text::{bounded_name, number, uuid},
};

/// The longest file that is read, in bytes. One with hundreds of devices has a tenth of it.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest element.
const MAX_DEPTH: usize = 64;
/// The most vCPUs (`KVM_MAX_VCPUS` of x86 is 4096 at most).
const MAX_VCPUS: usize = 4096;

/// Why a file was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// It is longer than [`MAX_BYTES`].
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// Elements within elements.
    #[error("its elements are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// It has a document type, which can define entities.
    #[error("it has a document type")]
    DocumentType,
    /// It uses an entity that XML does not predefine.
    #[error("it uses an entity of its own")]
    Entity,
    /// It is no text, or no XML.
    #[error("it is no XML: {0}")]
    NoXml(String),
    /// It is XML of something else.
    #[error("it is not about a running domain")]
    NoStatus,
}

/// What the file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The domain's process.
    pub pid: Option<u32>,
    /// Number of the domain.
    pub id: Option<u32>,
    /// Name of the domain.
    pub name: String,
    /// UUID.
    pub uuid: Option<String>,
    /// Name of the server in OpenStack's metadata.
    pub nova_name: Option<String>,
    /// Numbers of vCPUs and their threads.
    pub vcpus: Vec<(u32, u32)>,
}

impl Status {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not such a file, or asks for too much.
    pub fn parse(file: &[u8]) -> Result<Self, Refused> {
        if file.len() > MAX_BYTES {
            return Err(Refused::TooLong);
        }
        let text = str::from_utf8(file).map_err(|error| Refused::NoXml(error.to_string()))?;
        let mut reader = Reader::from_str(text);
        let (mut status, mut path, mut words) = (Self::default(), Vec::<String>::new(), String::new());
        let mut in_nova = 0;
        loop {
            let event = reader.read_event().map_err(|error| Refused::NoXml(error.to_string()))?;
            let opens = matches!(event, Event::Start(_));
            match event {
                Event::Start(element) | Event::Empty(element) => {
                    if path.is_empty() && element.local_name().as_ref() != "domstatus" {
                        return Err(Refused::NoStatus);
                    }
                    if path.len() == MAX_DEPTH {
                        return Err(Refused::TooDeep);
                    }
                    path.push(element.local_name().as_ref().to_owned());
                    status.begin(&path, &element)?;
                    if opens && in_nova == 0 && is_nova(&path, &element)? {
                        in_nova = path.len();
                    }
                    if !opens {
                        path.pop();
                    }
                    words.clear();
                }
                Event::End(_) => {
                    status.end(&path, &words, in_nova != 0);
                    if in_nova == path.len() {
                        in_nova = 0;
                    }
                    path.pop();
                    words.clear();
                }
                Event::Text(text) => words.push_str(&text),
                Event::CData(text) => words.push_str(&text),
                Event::GeneralRef(reference) => {
                    let number = reference.resolve_char_ref();
                    match number.map_err(|error| Refused::NoXml(error.to_string()))? {
                        Some(character) => words.push(character),
                        None => words.push_str(resolve_predefined_entity(&reference).ok_or(Refused::Entity)?),
                    }
                }
                Event::DocType(_) => return Err(Refused::DocumentType),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof if !path.is_empty() => return Err(Refused::NoXml("it ends early".to_owned())),
                Event::Eof if status.name.is_empty() => return Err(Refused::NoStatus),
                Event::Eof => return Ok(status),
            }
        }
    }

    fn begin(&mut self, path: &[String], element: &BytesStart<'_>) -> Result<(), Refused> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["domstatus"] => self.pid = attribute(element, "pid")?,
            ["domstatus", "domain"] => self.id = attribute(element, "id")?,
            ["domstatus", "vcpus", "vcpu"] if self.vcpus.len() < MAX_VCPUS => {
                if let (Some(id), Some(thread)) = (attribute(element, "id")?, attribute(element, "pid")?) {
                    self.vcpus.push((id, thread));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, path: &[String], words: &str, in_nova: bool) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["domstatus", "domain", "name"] => bounded_name(words).as_ref().clone_into(&mut self.name),
            ["domstatus", "domain", "uuid"] => self.uuid = uuid(words),
            ["domstatus", "domain", "metadata", _, "name"] if in_nova => {
                self.nova_name = Some(bounded_name(words).into_owned());
            }
            _ => {}
        }
    }

    /// What it says about the VM.
    pub fn facts(&self) -> Facts {
        let id = self.id.map(|id| (Kind::DomainId, id.to_string()));
        let uuid = self.uuid.clone().map(|uuid| (Kind::Uuid, uuid));
        let name = self.nova_name.clone().map(|name| (Kind::Name, name));
        [Some((Kind::Domain, self.name.clone())), id, uuid, name].into_iter().flatten().collect()
    }
}

/// Whether an element is nova's: `<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">`,
/// whatever the prefix.
fn is_nova(path: &[String], element: &BytesStart<'_>) -> Result<bool, Refused> {
    if path.len() != 4 || path[2] != "metadata" || path[3] != "instance" {
        return Ok(false);
    }
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| Refused::NoXml(error.to_string()))?;
        let is_namespace = attribute.key.as_ref().starts_with("xmlns");
        if is_namespace && attribute.value.starts_with("http://openstack.org/xmlns/libvirt/nova/") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A number in an attribute.
fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<u32>, Refused> {
    let found = element.try_get_attribute(name).map_err(|error| Refused::NoXml(error.to_string()))?;
    let Some(attribute) = found else { return Ok(None) };
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| Refused::Entity)?;
    Ok(number(&value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS: &str = "<?xml version='1.0'?>\n<!-- do not edit -->\n\
        <domstatus state='running' reason='booted' pid='4711'>\n\
        <vcpus><vcpu id='0' pid='4720'/><vcpu id='2' pid='4721'></vcpu><vcpu id='x' pid='1'/></vcpus>\n\
        <domain type='kvm' id='7'><name>a&amp;b&#x21;</name>\
        <uuid>DCF47DBD-46D1-4D5B-B442-262A806A333A</uuid>\
        <metadata><n:instance xmlns:n=\"http://openstack.org/xmlns/libvirt/nova/1.1\"><n:name>web01</n:name>\
        <n:flavor><n:name>m1</n:name></n:flavor></n:instance><x><name>no</name></x></metadata>\
        <devices><disk><name>other</name></disk></devices></domain></domstatus>\n";

    #[test]
    fn a_status_is_read() {
        let status = Status::parse(STATUS.as_bytes()).unwrap();
        assert_eq!((status.pid, status.id, status.name.as_str()), (Some(4711), Some(7), "a&b!"));
        assert_eq!(status.uuid.as_deref(), Some("dcf47dbd-46d1-4d5b-b442-262a806a333a"));
        assert_eq!(status.nova_name.as_deref(), Some("web01"));
        assert_eq!(status.vcpus, [(0, 4720), (2, 4721)]);
    }

    #[test]
    fn metadata_of_others_gives_no_name() {
        let other = STATUS.replace("http://openstack.org/xmlns/libvirt/nova/1.1", "http://example.org/nova");
        assert_eq!(Status::parse(other.as_bytes()).unwrap().nova_name, None);
    }

    #[test]
    fn tricks_are_refused() {
        let parse = |text: &str| Status::parse(text.as_bytes()).unwrap_err();
        let bomb = format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{STATUS}");
        assert_eq!(parse(&bomb), Refused::DocumentType);
        assert_eq!(parse(&STATUS.replace("&amp;", "&b;")), Refused::Entity);
        assert_eq!(parse(&STATUS.replace("pid='4711'", "pid='&b;'")), Refused::Entity);
        assert_eq!(parse(&format!("<domstatus>{}", "<a>".repeat(100))), Refused::TooDeep);
        assert_eq!(parse(&" ".repeat(MAX_BYTES + 1)), Refused::TooLong);
        assert_eq!(parse("<domain><name>a</name></domain>"), Refused::NoStatus);
        assert_eq!(parse("<domstatus></domstatus>"), Refused::NoStatus);
        assert!(matches!(parse(&STATUS[..STATUS.len() - 20]), Refused::NoXml(_)));
        assert!(matches!(parse("<domstatus></domain>"), Refused::NoXml(_)));
        assert!(matches!(Status::parse(b"<domstatus>\xff").unwrap_err(), Refused::NoXml(_)));
    }

    proptest! {
        /// A file with a piece cut out, or put in, is read or refused.
        #[test]
        fn any_damage(at in 0..STATUS.len(), cut in 0..20_usize, piece in "(<|>|/|&|;|'|<!|\\[|.){0,8}") {
            let mut file = STATUS.as_bytes().to_vec();
            file.splice(at..(at + cut).min(STATUS.len()), piece.bytes());
            if let Ok(status) = Status::parse(&file) {
                prop_assert!(!status.name.is_empty());
            }
        }
    }
}
