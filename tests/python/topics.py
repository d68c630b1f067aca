"""Reading a topic of ledgerflow with Kafka's client as any consumer may: committed records only, to the end.

Offsets have gaps: the markers of transactions take some, and so do the records of aborted ones, which a read_committed
consumer is not given.
"""
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

POLL_SECONDS = 0.5


def consumer(bootstrap, group):
    """A consumer that is not given what was aborted or is still open."""
    return Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    })


def partitions(client, topic, seconds):
    """Partition numbers of a topic."""
    found = client.list_topics(topic, timeout=seconds).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def until_end(client, at, seconds):
    """Yields the records from positions `at` (TopicPartitions) until every partition was once read to its end.

    The end is the last stable offset: below it every transaction is committed or aborted.
    """
    deadline = time.monotonic() + seconds
    client.assign(at)
    open_ones = {position.partition for position in at}
    while open_ones:
        if time.monotonic() > deadline:
            raise TimeoutError(f"partitions {sorted(open_ones)} were not read to their end in {seconds} s")
        record = client.poll(POLL_SECONDS)
        if record is None:
            continue
        if record.error() is None:
            yield record
        elif record.error().code() == KafkaError._PARTITION_EOF:
            open_ones.discard(record.partition())
        else:
            raise KafkaException(record.error())


def from_beginning(bootstrap, topic, seconds):
    """The committed records of a topic by partition, each partition in order."""
    client = consumer(bootstrap, "none")
    try:
        numbers = partitions(client, topic, seconds)
        records = {number: [] for number in numbers}
        for record in until_end(client, [TopicPartition(topic, n, OFFSET_BEGINNING) for n in numbers], seconds):
            records[record.partition()].append(record)
        return records
    finally:
        client.close()
