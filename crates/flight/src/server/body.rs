//! Answers whose bytes are those of the map, in a separate type of body, because tonic's encoder would copy them.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use super::{
    connection::{Connections, Progress},
    stats::Counters,
};
use crate::{messages::Data, wire::CHUNK};

/// Protobuf: field 2 of `FlightData`, the header, and field 1000, the body; field 1 of `Result`.
const DATA_HEADER: u8 = 2 << 3 | 2;
const DATA_BODY: u64 = 1000 << 3 | 2;
const RESULT_BODY: u8 = 1 << 3 | 2;

/// The pieces of a gRPC frame.
pub(super) type Pieces = VecDeque<Bytes>;

/// The messages of an answer.
pub(super) enum Messages {
    /// Created when the client reads them.
    Now(Box<dyn Iterator<Item = Result<Pieces, Status>> + Send>),
    /// Sent by a task, which waits for something.
    Later(mpsc::Receiver<Result<Pieces, Status>>),
}

impl Messages {
    pub(super) fn now(messages: impl Iterator<Item = Result<Pieces, Status>> + Send + 'static) -> Self {
        Self::Now(Box::new(messages))
    }

    pub(super) fn once(message: Pieces) -> Self {
        Self::now(std::iter::once(Ok(message)))
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Pieces, Status>>> {
        match self {
            Self::Now(messages) => Poll::Ready(messages.next()),
            Self::Later(receiver) => receiver.poll_recv(context),
        }
    }
}

/// The body of an answer. Creates the next message when the client has read the one before it.
pub(super) struct Answer {
    messages: Messages,
    pieces: Pieces,
    is_over: bool,
    hold: Hold,
}

/// Values that live as long as an answer.
pub(super) struct Hold {
    pub(super) connections: Arc<Connections>,
    pub(super) progress: Arc<Progress>,
    pub(super) counters: Arc<Counters>,
    /// Its place among the streams of the server.
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Answer {
    pub(super) fn respond(messages: Messages, hold: Hold) -> http::Response<tonic::body::Body> {
        let answer = Self { messages, pieces: VecDeque::new(), is_over: false, hold };
        let mut response = http::Response::new(tonic::body::Body::new(answer));
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        response
    }

    fn trailers(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.is_over = true;
        let mut trailers = http::HeaderMap::new();
        status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.hold.connections.note(&self.hold.progress);
        if self.is_over {
            return Poll::Ready(None);
        }
        loop {
            if let Some(mut piece) = self.pieces.pop_front() {
                if piece.len() > CHUNK {
                    let rest = piece.split_off(CHUNK);
                    self.pieces.push_front(rest);
                }
                self.hold.counters.sent(piece.len());
                let watched = Watched { piece, _progress: self.hold.progress.clone() };
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(watched)))));
            }
            match ready!(self.messages.poll_next(context)) {
                Some(Ok(pieces)) => self.pieces = pieces,
                Some(Err(status)) => return Poll::Ready(Some(self.trailers(&status))),
                None => return Poll::Ready(Some(self.trailers(&Status::ok("")))),
            }
        }
    }
}

/// A piece that waits in the queue of its connection. The answer may be over by then, so the piece keeps the watch over its
/// reader.
struct Watched {
    piece: Bytes,
    _progress: Arc<Progress>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

fn put_varint(bytes: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        bytes.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.put_u8(value as u8);
}

/// The gRPC frame of a message that starts with `start` and ends with `rest`.
fn framed(start: &[u8], rest: impl IntoIterator<Item = Bytes>) -> Result<Pieces, Status> {
    let mut pieces = VecDeque::from([Bytes::new()]);
    pieces.extend(rest.into_iter().filter(|piece| !piece.is_empty()));
    let length = start.len() + pieces.iter().map(Bytes::len).sum::<usize>();
    let length = u32::try_from(length)
        .map_err(|_| Status::out_of_range(format!("a message has {length} bytes, and gRPC ends at 4 GiB")))?;
    let mut prefix = BytesMut::with_capacity(5 + start.len());
    prefix.put_u8(0);
    prefix.put_u32(length);
    prefix.put_slice(start);
    if let Some(first) = pieces.front_mut() {
        *first = prefix.freeze();
    }
    Ok(pieces)
}

/// A `FlightData`.
pub(super) fn flight_data(data: Data) -> Result<Pieces, Status> {
    let mut start = BytesMut::with_capacity(data.header.len() + 24);
    start.put_u8(DATA_HEADER);
    put_varint(&mut start, data.header.len() as u64);
    start.put_slice(&data.header);
    let length = data.body.iter().map(Bytes::len).sum::<usize>();
    if length > 0 {
        put_varint(&mut start, DATA_BODY);
        put_varint(&mut start, length as u64);
    }
    framed(&start, data.body)
}

/// The `Result` of an action.
pub(super) fn action_result(body: Bytes) -> Result<Pieces, Status> {
    let mut start = BytesMut::with_capacity(11);
    start.put_u8(RESULT_BODY);
    put_varint(&mut start, body.len() as u64);
    framed(&start, [body])
}

#[cfg(test)]
mod tests {
    use arrow_flight::{FlightData, Result as ActionResult};
    use bytes::Bytes;
    use prost::Message;

    use super::{action_result, flight_data};
    use crate::messages::Data;

    fn message(pieces: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
        let bytes: Vec<u8> = pieces.into_iter().flatten().collect();
        assert_eq!(bytes[0], 0);
        assert_eq!(u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize, bytes.len() - 5);
        bytes[5..].to_vec()
    }

    #[test]
    fn the_frames_are_the_protobuf_that_prost_reads() {
        for length in [0, 1, 127, 128, 20_000, 3 << 20] {
            let (header, body) = (Bytes::from(vec![7; length / 3]), Bytes::from(vec![5; length]));
            let pieces =
                flight_data(Data { header: header.clone(), body: vec![body.clone(), Bytes::new(), body.clone()] });
            let data = FlightData::decode(&*message(pieces.unwrap())).unwrap();
            assert_eq!(data.data_header, header);
            assert_eq!(data.data_body.len(), 2 * length);
            let result = ActionResult::decode(&*message(action_result(body.clone()).unwrap())).unwrap();
            assert_eq!(result.body, body);
        }
    }
}
