        from server.http_server import serve
