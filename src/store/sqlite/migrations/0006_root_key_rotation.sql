-- Root keys can be rotated. What is sealed says itself which one it is under.

-- Of wrapped material, the root key that wrapped it: the one from before the first rotation if there is none.
ALTER TABLE material ADD COLUMN root_key BLOB;
