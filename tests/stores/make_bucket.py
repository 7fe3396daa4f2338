"""Makes a bucket: make_bucket.py ENDPOINT BUCKET, with the keys of the environment. Signature version 4 by hand."""

import datetime
import hashlib
import hmac
import os
import sys
import urllib.request

endpoint, bucket = sys.argv[1:]
key_id, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
region = "us-east-1"

time = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
day = time[:8]
empty = hashlib.sha256(b"").hexdigest()
headers = {
    "host": endpoint.split("://")[1],
    "x-amz-content-sha256": empty,
    "x-amz-date": time,
}
names = ";".join(headers)
lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
request = f"PUT\n/{bucket}\n\n{lines}\n{names}\n{empty}"
scope = f"{day}/{region}/s3/aws4_request"
text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
key = f"AWS4{secret}".encode()
for part in (day, region, "s3", "aws4_request", text):
    key = hmac.digest(key, part.encode(), "sha256")
headers["authorization"] = (
    f"AWS4-HMAC-SHA256 Credential={key_id}/{scope},SignedHeaders={names},Signature={key.hex()}"
)
urllib.request.urlopen(
    urllib.request.Request(f"{endpoint}/{bucket}", method="PUT", headers=headers), timeout=10
)
