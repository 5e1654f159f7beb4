"""OpenAI's API over HTTP: requests in, answers and refusals out. What a request says is in rules/dialect."""
