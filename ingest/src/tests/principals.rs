//! Whose event a record is: what its lane's writers vouch for, whatever the event and its headers say.

use super::*;
use crate::principals::Writers;
use schemas::principal::HEADER;

/// An event that claims somebody else's name wherever it can.
fn claims(id: &str, header: Option<&'static str>) -> Record {
    let text = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"bert","type":"adjustment.rejected","time":"{NOON}","subject":"bert",
            "principal":"bert","ledgerflowprincipal":"bert",
            "data":{{"proposal":"p","principal":"bert","proposed_by":"bert","approved_by":"bert"}}}}"#
    );
    let headers = header.map(|name| Header::text(HEADER, name)).into_iter().collect();
    Record { headers, ..record(text) }
}

#[test]
fn a_principal_comes_from_the_lanes_writers_alone() {
    let mut config = config();
    config.settings.writers = [Writers::Doors, Writers::Anyone, Writers::One("orders".into())];
    let mut rig = Rig::open_with(config);
    let lane = |name: &str| {
        let id = |n: usize| format!("{name}{n}");
        vec![claims(&id(0), None), claims(&id(1), Some("anna"))]
    };
    let came = rig
        .window(Given { lanes: [lane("doors"), lane("anyone"), lane("one")], ..Given::default() })
        .unwrap();
    assert_eq!(came.reasons(), [""; 0]);
    let of: BTreeMap<&str, &str> = came
        .commands()
        .into_iter()
        .map(|command| (command.event.as_ref().unwrap().id.as_str(), command.principal.as_str()))
        .collect();
    let expected = [
        ("doors0", ""),
        ("doors1", "anna"),
        ("anyone0", ""),
        ("anyone1", ""),
        ("one0", "orders"),
        ("one1", "orders"),
    ];
    assert_eq!(of, BTreeMap::from(expected));
}

/// In binary mode the event's attributes are headers: the door's is none of them, and no extension replaces it.
#[test]
fn in_binary_mode_too() {
    let mut config = config();
    config.settings.writers = [Writers::Doors, Writers::Anyone, Writers::Anyone];
    let mut rig = Rig::open_with(config);
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", "1"),
        ("ce_source", "bert"),
        ("ce_type", "adjustment.rejected"),
        ("ce_time", NOON),
        ("ce_subject", "bert"),
        ("ce_ledgerflowprincipal", "bert"),
        ("content-type", "application/json"),
        (HEADER, "anna"),
    ];
    let headers = headers.map(|(name, value)| Header::text(name, value)).to_vec();
    let event = Record { headers, ..record(r#"{"proposal":"p"}"#) };
    let other = [vec![event.clone()], vec![event], vec![]];
    let came = rig.window(Given { lanes: other, ..Given::default() }).unwrap();
    assert_eq!(came.reasons(), [""; 0]);
    let mut principals: Vec<&str> =
        came.commands().into_iter().map(|command| command.principal.as_str()).collect();
    principals.sort_unstable();
    assert_eq!(principals, ["", "anna"]);
}
