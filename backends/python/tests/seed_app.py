async def app(scope, receive, send):
    if scope["type"] == "webtransport":
        # Accept the WebTransport session
        await send({"type": "webtransport.accept"})
        
        # Handle events
        while True:
            message = await receive()
            
            if message["type"] == "webtransport.disconnect":
                break
            
            elif message["type"] == "webtransport.stream.receive":
                stream_id = message["stream_id"]
                data = message["data"]
                
                # Echo back the data
                await send({
                    "type": "webtransport.stream.send",
                    "stream_id": stream_id,
                    "data": b"Echo: " + data,
                    "end_stream": message.get("stream_ended", False),
                })
