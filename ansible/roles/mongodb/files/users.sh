#!/bin/sh
# users.sh FOLDER DATABASE: the administrator and the chat's user, with the passwords in FOLDER. No password is an argument.
set -eu
folder=$1 database=$2
cat > "$folder/users.js" <<END
const fs = require('fs');
const word = (name) => fs.readFileSync('$folder/' + name, 'utf8').trim();
const admin = db.getSiblingDB('admin'), chat = db.getSiblingDB('$database');
let made = false, known = true;
try {
  admin.auth('admin', word('admin'));
} catch (error) {
  known = false;
}
if (!known) {
  admin.createUser({user: 'admin', pwd: word('admin'), roles: ['root']});
  admin.auth('admin', word('admin'));
  made = true;
}
if (chat.getUser('chat') === null) {
  chat.createUser({user: 'chat', pwd: word('chat'), roles: [{role: 'dbOwner', db: '$database'}]});
  made = true;
}
print(made ? 'made' : 'as it was');
END
exec mongosh --quiet --norc mongodb://127.0.0.1:27017/admin "$folder/users.js"
