"""A mail server that takes everything and prints each mail as a line of JSON: smtp.py PORT."""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP


class Printer:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name: str(value) for name, value in message.items()},
            "text": message.get_content(),
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


async def main():
    serve = lambda: SMTP(Printer(), enable_SMTPUTF8=True)
    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
