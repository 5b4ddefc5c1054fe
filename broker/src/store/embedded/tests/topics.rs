//! Topics against a model that keeps every place, over many small slots.

use super::sim::Rng;
use crate::domain::{BatchBuilder, Offset, Time, TopicId};
use crate::store::embedded::topics::{Lies, Look, Part, Place, Topic, Topics};

/// What a topic keeps, as one list.
#[derive(Default)]
struct Model {
    start: u64,
    places: Vec<Place>,
}

impl Model {
    fn kept(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.end.0 > self.start)
    }
}

fn check(topics: &Topics, id: TopicId, model: &Model, open: u64, time: u64) {
    let topic = &topics.open[&id];
    for from in 0..topic.head.next.0 + 2 {
        let want = model.kept().find(|place| place.end.0 > from);
        match (topic.look(Offset(from)), want) {
            (None, None) => {}
            (Some(Look::Open(at)), Some(want)) => assert_eq!(topic.open[at], *want),
            (Some(Look::Sealed(part)), Some(want)) => {
                assert_eq!(part.generation, want.generation);
                let all =
                    || model.places.iter().filter(|place| place.generation == part.generation);
                assert!(part.base <= want.base && part.end >= want.end);
                assert_eq!(part.end, all().next_back().unwrap().end);
                assert_eq!(part.last, all().next_back().unwrap().time);
            }
            other => panic!("{other:?}"),
        }
    }
    for time in 0..time + 2 {
        let want = model.kept().find(|place| place.time.0 >= time);
        match (topic.look_for_time(Time(time)), want) {
            (None, None) => {}
            (Some(Look::Open(at)), Some(want)) => assert_eq!(topic.open[at], *want),
            (Some(Look::Sealed(part)), Some(want)) => assert_eq!(part.generation, want.generation),
            other => panic!("{other:?}"),
        }
    }
    for generation in 0..=open {
        let held = model.kept().any(|place| place.generation == generation);
        assert_eq!(topics.holds(generation), held, "{generation}");
    }
    assert!(topic.open.iter().all(|place| place.generation == open), "only the open slot is dense");
}

#[test]
fn parts_and_open_places_answer_as_the_whole_list_would() {
    for seed in 0..60 {
        let (mut rng, mut topics) = (Rng(seed), Topics::default());
        let id = TopicId::random();
        topics.create(id);
        let (mut model, mut number, mut time, mut at) = (Model::default(), 0, 0, 4_096);
        for _ in 0..120 {
            match rng.below(10) {
                0..6 => {
                    let mut batch = BatchBuilder::default();
                    for _ in 0..=rng.below(3) {
                        batch.push::<&str, &str>(&[], "x");
                    }
                    time += rng.below(2) as u64;
                    let entry = topics.open[&id].head.entry(Time(time), batch.finish(), Vec::new());
                    let generation = u64::from(number) + 1;
                    let lies = Lies { generation, slot: number, at, len: 40, crc: 7 };
                    at += 40;
                    topics.append(id, &entry, lies.place(&entry));
                    model.places.push(lies.place(&entry));
                }
                6..8 => {
                    let next = topics.open[&id].head.next.0;
                    let to = rng.below(usize::try_from(next).unwrap() + 1) as u64;
                    topics.trim(id, Offset(to));
                    model.start = model.start.max(to);
                }
                _ => {
                    let sealed = topics.seal_before(u64::from(number) + 2);
                    let kept = sealed.iter().flat_map(|(_, places)| places.iter());
                    let want = model.kept().filter(|place| place.slot == number);
                    assert!(kept.eq(want), "the index of {number}");
                    number += 1;
                }
            }
            check(&topics, id, &model, u64::from(number) + 1, time);
        }
        topics.close(id);
        assert!((0..=u64::from(number) + 1).all(|generation| !topics.holds(generation)));
    }
}

/// All that the store keeps of a topic that nobody uses, with entries in one slot.
#[test]
fn an_idle_topic_is_small() {
    let row = size_of::<(TopicId, Topic)>();
    // A hash map is at least 7/16 full, a list has room for four at least.
    let of_map = row * 16 / 7 + 16;
    let of_list = 4 * size_of::<Part>();
    assert!(of_map + of_list + size_of::<TopicId>() <= 1_024, "{of_map} + {of_list}");
}
