//! Cycles between events of one partition, as Elle looks for them.
//!
//! Version order of an account is `seq`. Edges: *ww* from the event of a version to that of the next one; *wr* from the event
//! of a version to who read it (a read of balances, or a sender who was told of its decision and sends the next event);
//! *rw* from a read to the event of the version behind the one that it saw. An event reads no account that it does not
//! write, so what it reads adds no edge to *ww*.

use super::super::books::Books;
use super::super::record::{Account, Asked, Balance, Ended, Operation, Seen};
use super::{Found, Kind, Senders};
use schemas::wire::Outcome;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Ww,
    Wr,
    Rw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node<'a> {
    Event(&'a str),
    Read(usize),
}

/// What depends on what in one partition.
#[derive(Default)]
struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    numbers: BTreeMap<Node<'a>, usize>,
    edges: Vec<BTreeSet<(Edge, usize)>>,
}

impl<'a> Graph<'a> {
    fn number(&mut self, node: Node<'a>) -> usize {
        let (nodes, edges) = (&mut self.nodes, &mut self.edges);
        *self.numbers.entry(node).or_insert_with(|| {
            nodes.push(node);
            edges.push(BTreeSet::new());
            nodes.len() - 1
        })
    }

    fn depends(&mut self, from: Node<'a>, edge: Edge, to: Node<'a>) {
        if from != to {
            let (from, to) = (self.number(from), self.number(to));
            self.edges[from].insert((edge, to));
        }
    }

    fn next(&self, node: usize, strongest: Edge) -> impl Iterator<Item = usize> + '_ {
        self.edges[node].iter().filter(move |(edge, _)| *edge <= strongest).map(|(_, to)| *to)
    }

    /// Groups of nodes that all lead to one another by edges up to that kind (Tarjan, without recursion).
    fn knots(&self, strongest: Edge) -> Vec<Vec<usize>> {
        const NEW: usize = usize::MAX;
        let (mut index, mut low) = (vec![NEW; self.nodes.len()], vec![NEW; self.nodes.len()]);
        let (mut open, mut is_open, mut knots) = (Vec::new(), vec![false; self.nodes.len()], Vec::new());
        let mut count = 0;
        for root in 0..self.nodes.len() {
            if index[root] != NEW {
                continue;
            }
            let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
            let mut enter = Some(root);
            loop {
                if let Some(node) = enter.take() {
                    (index[node], low[node], is_open[node]) = (count, count, true);
                    count += 1;
                    open.push(node);
                    path.push((node, self.next(node, strongest).collect()));
                }
                let Some((node, left)) = path.last_mut() else { break };
                let node = *node;
                match left.pop() {
                    Some(to) if index[to] == NEW => enter = Some(to),
                    Some(to) if is_open[to] => low[node] = low[node].min(index[to]),
                    Some(_) => {}
                    None => {
                        path.pop();
                        if let Some((parent, _)) = path.last() {
                            low[*parent] = low[*parent].min(low[node]);
                        }
                        if low[node] == index[node] {
                            let from = open.iter().rposition(|other| *other == node).unwrap();
                            let knot = open.split_off(from);
                            knot.iter().for_each(|node| is_open[*node] = false);
                            knots.push(knot);
                        }
                    }
                }
            }
        }
        knots.retain(|knot| knot.len() > 1);
        knots
    }

    /// Whether a path without a missed read leads from one node of a knot to another one of it.
    fn leads(&self, from: usize, to: usize, knot: &BTreeSet<usize>) -> bool {
        let (mut seen, mut left) = (BTreeSet::from([from]), vec![from]);
        while let Some(node) = left.pop() {
            if node == to {
                return true;
            }
            left.extend(self.next(node, Edge::Wr).filter(|next| knot.contains(next) && seen.insert(*next)));
        }
        false
    }

    /// What the weakest cycle of a knot is.
    fn kind(&self, knot: &[usize], strongest: Edge) -> Kind {
        let within: BTreeSet<usize> = knot.iter().copied().collect();
        let missed = |node: usize| {
            let edges = self.edges[node].iter().filter(|(edge, to)| *edge == Edge::Rw && within.contains(to));
            edges.map(move |(_, to)| (node, *to))
        };
        match strongest {
            Edge::Ww => Kind::G0,
            Edge::Wr => Kind::G1c,
            Edge::Rw if knot.iter().any(|n| missed(*n).any(|(from, to)| self.leads(to, from, &within))) => {
                Kind::GSingle
            }
            Edge::Rw => Kind::G2,
        }
    }
}

pub(super) fn check<'a>(
    history: &'a [Operation],
    books: &'a Books,
    senders: &Senders<'a>,
    found: &mut Found,
) {
    let mut graphs: BTreeMap<u32, Graph<'a>> = BTreeMap::new();
    versions(books, &mut graphs);
    told(history, books, &mut graphs);
    for (index, operation) in history.iter().enumerate() {
        let shown = (&operation.asked, &operation.ended);
        if let (Asked::Balances { partition }, Ended::Ok(Seen::Balances(shown))) = shown {
            read(shown, index, *partition, books, &mut graphs);
        }
    }
    for (partition, graph) in &graphs {
        let mut before: BTreeSet<usize> = BTreeSet::new();
        for strongest in [Edge::Ww, Edge::Wr, Edge::Rw] {
            for knot in graph.knots(strongest) {
                // What holds a weaker cycle was told as that.
                if knot.iter().any(|node| before.contains(node)) {
                    continue;
                }
                tell(graph, *partition, &knot, strongest, senders, found);
                before.extend(knot);
            }
        }
    }
}

fn tell(
    graph: &Graph<'_>,
    partition: u32,
    knot: &[usize],
    strongest: Edge,
    senders: &Senders<'_>,
    found: &mut Found,
) {
    let mut operations = BTreeSet::new();
    for node in knot {
        match graph.nodes[*node] {
            Node::Event(event) => operations.extend(senders.get(event).into_iter().flatten()),
            Node::Read(index) => drop(operations.insert(index)),
        }
    }
    let names: Vec<String> = knot.iter().take(10).map(|node| format!("{:?}", graph.nodes[*node])).collect();
    let operations: Vec<usize> = operations.into_iter().collect();
    found.tell(
        graph.kind(knot, strongest),
        &operations,
        format!("journal/{partition}: {}", names.join(", ")),
    );
}

/// Which event is behind which on an account.
fn versions<'a>(books: &'a Books, graphs: &mut BTreeMap<u32, Graph<'a>>) {
    for versions in books.accounts().values() {
        let mut ordered: Vec<_> = versions.iter().filter(|version| !version.event.is_empty()).collect();
        ordered.sort_by_key(|version| version.seq);
        for pair in ordered.windows(2).filter(|pair| pair[0].partition == pair[1].partition) {
            let (from, to) = (Node::Event(&pair[0].event), Node::Event(&pair[1].event));
            graphs.entry(pair[0].partition).or_default().depends(from, Edge::Ww, to);
        }
    }
}

/// Who was told of a decision and sent the next event then, in the partitions that had decided.
fn told<'a>(history: &'a [Operation], books: &'a Books, graphs: &mut BTreeMap<u32, Graph<'a>>) {
    let mut places: BTreeMap<&str, BTreeSet<(u32, bool)>> = BTreeMap::new();
    for version in books.accounts().values().flatten() {
        places.entry(&version.event).or_default().insert((version.partition, version.decided));
    }
    let mut last: BTreeMap<u32, &str> = BTreeMap::new();
    for operation in history {
        let Asked::Book { event, .. } = &operation.asked else { continue };
        let of = |event: &str| places.get(event).cloned().unwrap_or_default();
        if let Some(before) = last.remove(&operation.process) {
            let decided = of(before).into_iter().filter(|(_, decided)| *decided);
            for (partition, _) in decided.filter(|(p, _)| of(event).iter().any(|(other, _)| other == p)) {
                let graph = graphs.entry(partition).or_default();
                graph.depends(Node::Event(before), Edge::Wr, Node::Event(event));
            }
        }
        if operation.ended == Ended::Ok(Seen::Became(Outcome::Booked)) {
            last.insert(operation.process, event);
        }
    }
}

/// What a read of balances saw and missed, partition by partition.
fn read<'a>(
    shown: &[Balance],
    index: usize,
    asked: Option<u32>,
    books: &'a Books,
    graphs: &mut BTreeMap<u32, Graph<'a>>,
) {
    let seen: BTreeMap<&Account, u64> = shown.iter().map(|balance| (&balance.account, balance.seq)).collect();
    for (account, versions) in books.accounts() {
        let Some(partition) = versions.first().map(|version| version.partition) else { continue };
        if asked.is_some_and(|asked| asked != partition) {
            continue;
        }
        let seq = seen.get(account).copied().unwrap_or(0);
        let event = |seq: u64| books.version(account, seq).map(|version| version.event.as_str());
        let graph = graphs.entry(partition).or_default();
        if let Some(event) = event(seq).filter(|event| !event.is_empty()) {
            graph.depends(Node::Event(event), Edge::Wr, Node::Read(index));
        }
        if let Some(event) = event(seq + 1).filter(|event| !event.is_empty()) {
            graph.depends(Node::Read(index), Edge::Rw, Node::Event(event));
        }
    }
}
